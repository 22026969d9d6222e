"""Held-out responses and what they say of a policy."""
