"""`ndpsim model`, `trace` and `gpu`: models of language, activation traces, kernel times of cards."""
