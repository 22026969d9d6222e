"""Batches that take the most memory that a run's settings allow; what stands in them is nothing."""

import torch

from abcrl.config import PpoSettings
from abcrl.rl.sampling.responses import Responses
from abcrl.rl.update import Experience


def longest_responses(settings: PpoSettings, rows: int, device: torch.device) -> Responses:
    """Returns the longest prompts and responses.

    Where prompts or responses can be shorter, all rows but the first are, by a token: whether there
    is padding decides which attention kernels run.
    """
    prompt, response = settings.prompt, settings.response
    P, R = prompt.max_tokens, response.cap_high
    attention = torch.ones(rows, P + R, dtype=torch.bool, device=device)
    if prompt.min_tokens < P:
        attention[1:, 0] = False
    elif min(response.min_new_tokens, response.cap_low) < R:
        attention[1:, -1] = False
    sequences = torch.ones(rows, P + R, dtype=torch.long, device=device)
    return Responses(sequences, attention, attention[:, P:].clone())


def longest_experience(settings: PpoSettings, rows: int, device: torch.device) -> Experience:
    """Returns what an update learns from, of `longest_responses`."""
    shape = (rows, settings.response.cap_high)
    numbers = (torch.zeros(shape, device=device) for _ in Experience._fields[1:])
    return Experience(longest_responses(settings, rows, device), *numbers)
