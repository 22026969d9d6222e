"""Tokenizers, and how a reward model with another one reads what a policy wrote."""
