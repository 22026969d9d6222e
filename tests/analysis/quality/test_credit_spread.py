"""How credit spreads, on a table that a pencil can check."""

import math

import pytest
import torch

from abcrl.analysis.quality.credit_spread import credit_spread


def test_credit_spread_by_hand():
    # Weights 1/4, 1/2, 1/4 and 1/2, 1/2; uniform 1/3 and 1/2 a token.
    weights = torch.tensor([[0.25, 0.5, 0.25, 0], [0.5, 0.5, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]]).bool()
    punctuation = torch.tensor([[0, 0, 1, 0], [0, 0, 0, 0]]).bool()
    causal = torch.tensor([[0, 1, 0, 0], [1, 1, 0, 0]]).bool()
    spread = credit_spread(weights, mask, punctuation=punctuation, causal=causal)
    assert spread.texts == 2
    assert spread.tokens == 2.5
    assert spread.effective_tokens == pytest.approx((8 / 3 + 2) / 2)
    assert spread.entropy == pytest.approx((1.5 + 1) * math.log(2) / 2)
    assert spread.first_token_share == pytest.approx((1 / 4 + 1 / 2) / 2)
    assert spread.last_token_share == pytest.approx((1 / 4 + 1 / 2) / 2)
    assert spread.punctuation_share == pytest.approx(1 / 4 / 2)
    assert spread.punctuation_token_share == pytest.approx(1 / 3 / 2)
    assert spread.causal_share == pytest.approx((1 / 2 + 1) / 2)
    assert spread.causal_token_share == pytest.approx((1 / 3 + 1) / 2)


def test_tokens_off_the_text_count_nowhere():
    weights, mask = torch.tensor([[0.5, 0.5, 0.0]]), torch.tensor([[1, 1, 0]]).bool()
    everywhere = torch.ones(1, 3, dtype=torch.bool)
    spread = credit_spread(weights, mask, punctuation=everywhere, causal=None)
    assert (spread.punctuation_share, spread.punctuation_token_share) == (1, 1)
    assert (spread.causal_share, spread.causal_token_share) == (None, None)
