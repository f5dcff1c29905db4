"""GPU kernel times: a small physical model, fitted where measurements exist, predicted from data sheets elsewhere."""
