"""Reward densification for RLHF: sft -> train-rm -> ppo -> compare, on one core.

Importing this package is free; torch is imported by the rooms that compute.
"""

__version__ = "0.1.0"
