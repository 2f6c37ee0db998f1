"""(contract; being written) One stream for people who embed, and the batched form that the engine drives."""
