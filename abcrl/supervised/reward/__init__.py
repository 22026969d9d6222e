"""What a reward model learns from, and how it is judged: one module per objective."""
