"""Reward models of every kind: where their head is, what it says, and how it is loaded."""
