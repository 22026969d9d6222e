"""First, last and next response token, for masks padded on either side and with holes."""

import pytest
import torch

from abcrl.densification.tokens import (
    first_response_token,
    last_response_token,
    move_to_next_token,
    token_ranks,
)


@pytest.mark.parametrize(
    ("mask", "ranks", "first", "last"),
    [
        ([1, 1, 1, 1], [0, 1, 2, 3], 0, 3),
        ([1, 1, 0, 0], [0, 1], 0, 1),
        ([0, 0, 1, 1], [0, 1], 2, 3),
        ([0, 1, 0, 1], [0, 1], 1, 3),
        ([0, 0, 1, 0], [0], 2, 2),
    ],
)
def test_ranks_and_ends(mask, ranks, first, last):
    mask = torch.tensor([mask], dtype=torch.bool)
    assert token_ranks(mask)[mask].tolist() == ranks
    assert first_response_token(mask).nonzero().tolist() == [[0, first]]
    assert last_response_token(mask).nonzero().tolist() == [[0, last]]


@pytest.mark.parametrize(
    ("mask", "moved"),
    [
        # The first response token receives 0, not what the last one drops.
        ([1, 1, 1, 1], [0, 10, 20, 30]),
        ([1, 1, 0, 0], [0, 10]),
        ([0, 0, 1, 1], [0, 30]),
        ([1, 0, 1, 1], [0, 10, 30]),  # over the hole
        ([0, 1, 0, 1], [0, 20]),
        ([0, 0, 1, 0], [0]),
    ],
)
def test_moving_values_to_the_next_response_token(mask, moved):
    mask = torch.tensor([mask], dtype=torch.bool)
    values = torch.tensor([[10.0, 20.0, 30.0, 40.0]])
    assert move_to_next_token(values, mask)[mask].tolist() == moved
