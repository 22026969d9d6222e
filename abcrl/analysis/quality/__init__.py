"""How good a reward model, its credit or a policy is by itself, before anything is compared."""
