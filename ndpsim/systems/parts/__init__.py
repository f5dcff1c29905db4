"""What several systems share: frames of a step, prompts, weights in host memory, and the check of a neuron trace."""
