"""Systems that keep the whole model on one graphics card or on several."""
