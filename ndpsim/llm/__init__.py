"""Language models: shapes, weights, and a NumPy decoder."""
