"""Which neurons fire: traces captured, generated, stored and measured; predictors, and how often neurons fire."""
