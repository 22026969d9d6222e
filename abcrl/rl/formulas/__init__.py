"""PPO as pure functions: each formula with its source, tensors in, tensors out."""
