"""Captured rows against eager attention with the same weights, for every architecture.

Exactness matters: a capture that reads one row too late, forgets a mask or repeats the wrong
key-value heads still gives plausible credit.
"""

import pytest
import torch
from torch.testing import assert_close

from abcrl.models import (
    PolicyWithValueHead,
    RewardModel,
    capture_attention,
    last_positions,
)
from abcrl.models.attention.layers import attention_module
from abcrl.models.attention.readers import reader_of
from tests.models.attention.attention_cases import (
    CASES,
    WIDTH,
    BuildModel,
    eager_attention,
    eager_copy,
    ragged_batch,
    rows_of,
    run,
)


@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("name", CASES)
def test_one_row_and_all_rows_equal_eager_attention(tiny_causal_lm: BuildModel, name, padding):
    model = CASES[name].build(tiny_causal_lm)
    ids, mask = ragged_batch(padding)
    last = last_positions(mask)[:, None]
    every = torch.arange(WIDTH).expand(4, WIDTH)

    with capture_attention(model, last) as one, capture_attention(model, every) as all_rows:
        logits = run(model, ids, mask).logits

    eager = run(eager_copy(model), ids, mask, output_attentions=True)
    assert_close(logits[mask], eager.logits[mask], atol=1e-5, rtol=0)  # it is the same function
    expected = eager.attentions[-1].mean(1)
    assert expected[mask].std() > 0.05  # nothing would be tested by attention that is uniform
    assert one.result().dtype == all_rows.result().dtype == torch.float32
    assert_close(one.result(), rows_of(expected, last), atol=1e-6, rtol=0)
    assert_close(all_rows.result()[mask], expected[mask], atol=1e-6, rtol=0)
    to_padding = all_rows.result().masked_fill(mask[:, None], 0)
    assert (to_padding[mask] == 0).all()


@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("name", CASES)
def test_rows_are_right_in_bfloat16(tiny_causal_lm: BuildModel, name, padding):
    model = CASES[name].build(tiny_causal_lm).to(torch.bfloat16)
    ids, mask = ragged_batch(padding)
    last = last_positions(mask)[:, None]
    every = torch.arange(WIDTH).expand(4, WIDTH)

    with capture_attention(model, last) as one, capture_attention(model, every) as all_rows:
        run(model, ids, mask)

    expected = eager_attention(model, ids, mask)
    assert one.result().dtype == all_rows.result().dtype == torch.float32
    assert_close(one.result(), rows_of(expected, last), atol=1e-2, rtol=0)
    assert_close(all_rows.result()[mask], expected[mask], atol=1e-2, rtol=0)
    assert_close(one.result().sum(-1), torch.ones(4, 1), atol=1e-2, rtol=0)


@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("name", CASES)
def test_reward_row_equals_eager_attention_at_the_scored_position(
    tiny_classifier: BuildModel, name, padding
):
    model = CASES[name].build(tiny_classifier)
    ids, mask = ragged_batch(padding)

    captured = RewardModel(model).score(ids, mask, with_attention=True).attention

    assert captured is not None
    expected = eager_attention(model.base_model, ids, mask)
    assert_close(
        captured, rows_of(expected, last_positions(mask)[:, None])[:, 0], atol=1e-6, rtol=0
    )
    assert (captured[~mask] == 0).all()


@pytest.mark.parametrize("name", CASES)
def test_policy_block_equals_eager_attention_at_response_positions(
    tiny_causal_lm: BuildModel, name
):
    model = CASES[name].build(tiny_causal_lm)
    P, R = 5, WIDTH - 5
    ids, left = ragged_batch("left")
    mask = left.clone()
    mask[:, P - 1] = True  # each prompt has a token
    mask[:, P:] = torch.arange(R) < torch.tensor([[6], [4], [1], [2]])
    rows = torch.arange(P - 1, P + R - 1).expand(4, R)

    with capture_attention(model, rows, columns=slice(P, P + R)) as capture, torch.no_grad():
        PolicyWithValueHead(model, seed=0)(ids, mask, R)

    captured = capture.result()
    assert captured.shape == (4, R, R)
    real = mask[:, P - 1 : -1]  # rows that a response token or the prompt's end asks from
    expected = rows_of(eager_attention(model, ids, mask), rows)[..., P:]
    assert_close(captured[real], expected[real], atol=1e-6, rtol=0)
    assert (captured.triu()[real] == 0).all()  # what is written later cannot be seen


@pytest.mark.parametrize("name", CASES)
def test_logits_are_identical_inside_the_capture(tiny_causal_lm: BuildModel, name):
    model = CASES[name].build(tiny_causal_lm)
    ids, mask = ragged_batch("left")

    outside = run(model, ids, mask).logits
    with capture_attention(model, last_positions(mask)[:, None]):
        inside = run(model, ids, mask).logits

    assert torch.equal(inside, outside)


@pytest.mark.parametrize("name", CASES)
def test_each_architecture_is_read_the_cheapest_way(tiny_causal_lm: BuildModel, name):
    model = CASES[name].build(tiny_causal_lm)
    assert reader_of(model, attention_module(model, -1)).__name__ == CASES[name].reader
