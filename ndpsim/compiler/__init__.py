"""What the DIMMs run: placement of weights and KV caches, lowering of operators to programs, merging of results."""
