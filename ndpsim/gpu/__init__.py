"""GPU kernel times: a small physical model, fitted where measurements exist, predicted from the data sheet where not."""
