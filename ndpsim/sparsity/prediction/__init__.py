"""Which neurons will be active: the predictor, its table of parents, and the row of bits in which it works."""
