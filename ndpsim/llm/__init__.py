"""Language models: shapes and their import, steps, operators with FLOPs and bytes, and a NumPy decoder."""
