"""Numbers that say whether credit is spread, on tables that a reader can check with a pencil."""

import pytest
import torch

from abcrl.densification import effective_tokens, first_token_share, last_token_share

MASK = torch.tensor([[1, 1, 1, 1, 0], [0, 1, 0, 1, 1], [0, 0, 0, 0, 1]], dtype=torch.bool)
WEIGHTS = torch.tensor([[0.25, 0.25, 0.25, 0.25, 0], [0, 0.5, 0, 0.25, 0.25], [0, 0, 0, 0, 1.0]])


def test_effective_tokens():
    # 1 / (4 * 1/16) = 4; 1 / (1/4 + 1/16 + 1/16) = 8/3; all on one token: 1.
    torch.testing.assert_close(effective_tokens(WEIGHTS), torch.tensor([4, 8 / 3, 1]))


def test_shares_of_the_first_and_last_response_token():
    # Row 1 starts in column 1 and ends in column 4, whatever lies in the hole.
    assert first_token_share(WEIGHTS, MASK).tolist() == [0.25, 0.5, 1]
    assert last_token_share(WEIGHTS, MASK).tolist() == [0.25, 0.25, 1]


def test_half_precision_weights_are_measured_in_float32():
    # 1 / 300 of a float16 is a denormal when squared.
    weights = torch.full((1, 300), 1 / 300, dtype=torch.float16)
    assert effective_tokens(weights).dtype == torch.float32
    assert effective_tokens(weights).item() == pytest.approx(300, rel=2e-3)


@pytest.mark.parametrize("weights", [[0.5, 0.5], torch.ones(2), torch.ones(1, 2, dtype=torch.int)])
def test_refuses_what_are_no_weights(weights):
    with pytest.raises(ValueError, match=r"^weights must be floating point \[B, R\], received"):
        effective_tokens(weights)


@pytest.mark.parametrize("share", [first_token_share, last_token_share])
def test_shares_refuse_a_mask_of_another_shape(share):
    with pytest.raises(ValueError, match=r"^weights must have shape \[B, R\] = \[3, 4\]"):
        share(WEIGHTS, MASK[:, :4])
