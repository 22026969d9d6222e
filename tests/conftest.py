"""What every test shares: one thread, and properties that draw the same examples on every run."""

import torch
from hypothesis import settings

# Thread counts change sums in the last digit, and on a busy machine cost time.
torch.set_num_threads(1)

settings.register_profile("abcrl", deadline=None, derandomize=True)
settings.load_profile("abcrl")
