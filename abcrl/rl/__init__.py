"""PPO: its mathematics as pure functions, and the rollout and update that use them."""
