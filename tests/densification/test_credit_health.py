"""Numbers that say whether credit is spread, on tables that a reader can check with a pencil."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from abcrl.densification import (
    credit_entropy,
    effective_tokens,
    first_token_share,
    last_token_share,
    share_on,
)

MASK = torch.tensor([[1, 1, 1, 1, 0], [0, 1, 0, 1, 1], [0, 0, 0, 0, 1]], dtype=torch.bool)
WEIGHTS = torch.tensor([[0.25, 0.25, 0.25, 0.25, 0], [0, 0.5, 0, 0.25, 0.25], [0, 0, 0, 0, 1.0]])


def test_effective_tokens():
    # 1 / (4 * 1/16) = 4; 1 / (1/4 + 1/16 + 1/16) = 8/3; all on one token: 1.
    torch.testing.assert_close(effective_tokens(WEIGHTS), torch.tensor([4, 8 / 3, 1]))


def test_entropy_in_nats():
    # Uniform over four: log 4. 1/2 log 2 + 2 * 1/4 log 4 = 1.5 log 2. All on one token: 0.
    log_2 = math.log(2)
    torch.testing.assert_close(credit_entropy(WEIGHTS), torch.tensor([2 * log_2, 1.5 * log_2, 0]))


@pytest.mark.parametrize("weights", [[[1.0]], [[1 + 1e-7, 0.0]]])
def test_entropy_is_never_negative(weights):
    assert credit_entropy(torch.tensor(weights)).tolist() == [0]


@given(st.integers(0, 2**31), st.integers(1, 40))
def test_effective_tokens_are_at_most_the_exponential_of_the_entropy(seed, length):
    # Hill's numbers fall with their order: 1 <= order 2 <= order 1 <= length.
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(3, length, generator=generator).pow(4) + 1e-6
    weights /= weights.sum(-1, keepdim=True)
    order_1, order_2 = credit_entropy(weights).exp(), effective_tokens(weights)
    assert (order_2 >= 1 - 1e-5).all()
    assert (order_2 <= order_1 * (1 + 1e-5)).all()
    assert (order_1 <= length * (1 + 1e-5)).all()


def test_share_on_a_set_of_tokens():
    # Say, punctuation: tokens 1 and 3 of row 0, token 3 of row 1, none in row 2.
    punctuation = torch.tensor([[0, 1, 0, 1, 0], [1, 0, 0, 1, 0], [0, 0, 0, 0, 0]]).bool()
    assert share_on(WEIGHTS, punctuation).tolist() == [0.5, 0.25, 0]
    assert share_on(WEIGHTS, MASK).tolist() == [1, 1, 1]
    assert share_on(WEIGHTS.half(), punctuation).dtype == torch.float32


def test_share_on_refuses_what_is_no_set_of_these_tokens():
    with pytest.raises(ValueError, match=r"^tokens must be bool, received torch.int64"):
        share_on(WEIGHTS, MASK.long())
    with pytest.raises(ValueError, match=r"^weights must have shape \[B, R\] = \[3, 4\]"):
        share_on(WEIGHTS, MASK[:, :4])


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
@pytest.mark.parametrize("number", [effective_tokens, credit_entropy])
def test_refuses_what_are_no_weights(number, weights):
    with pytest.raises(ValueError, match=r"^weights must be floating point \[B, R\], received"):
        number(weights)


@pytest.mark.parametrize("share", [first_token_share, last_token_share])
def test_shares_refuse_a_mask_of_another_shape(share):
    with pytest.raises(ValueError, match=r"^weights must have shape \[B, R\] = \[3, 4\]"):
        share(WEIGHTS, MASK[:, :4])
