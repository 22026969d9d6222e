"""What the core refuses: every message says field, rule, received and what to do."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from abcrl.densification import Evidence, assign_credit, blend, densify, needs

NAN, INF = float("nan"), float("inf")
MASK = torch.tensor([[1, 1, 0], [0, 1, 1]], dtype=torch.bool)
REWARD = torch.tensor([[0.5, 0.5, 0], [0, 0.5, 0.5]])
POLICY = torch.ones(2, 3, 3).tril(-1)
SCORES = torch.tensor([1.0, -1.0])


def refuses(start: str) -> pytest.RaisesExc[ValueError]:
    """Expect a ValueError of one line that starts like this and goes on to say what to do."""
    return pytest.raises(ValueError, match=rf"\A{re.escape(start)}[^\n]*; [^\n]+\Z")


def changed(values: Tensor, index: Any, value: float) -> Tensor:
    values = values.clone()
    values[index] = value
    return values


@pytest.mark.parametrize(
    ("mask", "start"),
    [
        ([[True]], "response_mask must be a torch.Tensor, received list"),
        (MASK.int(), "response_mask must be bool, received torch.int32"),
        (MASK[0], "response_mask must have shape [B, R], R >= 1, received [3]"),
        (MASK[:, :0], "response_mask must have shape [B, R], R >= 1, received [2, 0]"),
        (
            changed(MASK, 1, False),
            "response_mask must have a response token in every row, received 0 at index [1]",
        ),
    ],
)
def test_masks(mask, start):
    with refuses(start):
        assign_credit("uniform", Evidence(mask))
    with refuses(start):
        densify(SCORES, REWARD, mask, 0.8)
    with refuses(start):
        blend(REWARD, SCORES, mask, 0.8)


@pytest.mark.parametrize(
    ("mode", "mask", "field", "values", "rest"),
    [
        ("abc", MASK, "reward_attention", REWARD.tolist(), "be a torch.Tensor, received list"),
        (
            "abc",
            MASK,
            "reward_attention",
            REWARD.long(),
            "be floating point, received torch.int64",
        ),
        (
            "abc",
            MASK,
            "reward_attention",
            REWARD[:, :2],
            "have shape [B, R] = [2, 3], received [2, 2]",
        ),
        (
            "abc",
            MASK,
            "reward_attention",
            REWARD[:1],
            "have shape [B, R] = [2, 3], received [1, 3]",
        ),
        (
            "abc-d",
            MASK,
            "policy_attention",
            REWARD,
            "have shape [B, R, R] = [2, 3, 3], received [2, 3]",
        ),
        (
            "abc-d2",
            MASK,
            "policy_attention",
            POLICY[:, :2],
            "have shape [B, R, R] = [2, 3, 3], received [2, 2, 3]",
        ),
        (
            "abc",
            MASK,
            "reward_attention",
            REWARD.to("meta"),
            "be on the device of response_mask (cpu), received meta",
        ),
    ],
)
def test_structure_of_attention(mode, mask, field, values, rest):
    with refuses(f"{field} must {rest}"):
        assign_credit(mode, Evidence(mask, **{field: values}))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize(("value", "shown"), [(NAN, "nan"), (INF, "inf"), (-0.5, "-0.5")])
def test_values_of_attention(value, shown, dtype):
    rule = "be finite in float32 and >= 0 on the response"
    with refuses(f"reward_attention must {rule}, received {shown} at index [1, 2]"):
        assign_credit("abc", Evidence(MASK, changed(REWARD, (1, 2), value).to(dtype)))
    for mode in ["abc-d", "abc-d2"]:
        policy = changed(POLICY, (1, 2, 1), value).to(dtype)
        with refuses(f"policy_attention must {rule}, received {shown} at index [1, 2, 1]"):
            assign_credit(mode, Evidence(MASK, policy_attention=policy))


def test_attention_beyond_float32():
    # Finite in float64, infinite in the float32 that everything is computed in.
    with refuses("reward_attention must be finite in float32"):
        assign_credit("abc", Evidence(MASK, REWARD.double() * 1e300))


@pytest.mark.parametrize("mode", ["abc-d", "abc-d2"])
@pytest.mark.parametrize("index", [(0, 1, 1), (0, 0, 1), (1, 1, 1)])
def test_policy_attention_to_tokens_not_yet_written(mode, index):
    # What a capture returns that reads the row of token k in place of the one before it.
    start = f"policy_attention must be 0 where column >= row, received 0.25 at index {list(index)}"
    with refuses(start):
        assign_credit(mode, Evidence(MASK, policy_attention=changed(POLICY, index, 0.25)))


@pytest.mark.parametrize("value", [NAN, INF, -1.0, 7.0])
def test_off_the_response_attention_may_be_anything(value):
    clean = Evidence(MASK, REWARD, POLICY)
    off = ~(MASK[:, :, None] & MASK[:, None, :])
    garbage = Evidence(MASK, REWARD.masked_fill(~MASK, value), POLICY.masked_fill(off, value))
    for mode in ["abc", "abc-d", "abc-d2"]:
        expected = assign_credit(mode, clean).weights
        assert torch.equal(assign_credit(mode, garbage).weights, expected)


@pytest.mark.parametrize("mode", ["abc", "abc-d", "abc-d2"])
def test_missing_evidence_names_mode_and_field(mode):
    (field,) = needs(mode)
    start = f"evidence.{field} must be given for reward mode {mode}, received None"
    with refuses(start):
        assign_credit(mode, Evidence(MASK))


@pytest.mark.parametrize("mode", ["abcd", "ABC", "", None, ["abc"]])
def test_unknown_modes(mode):
    start = f"mode must name a reward mode, received {mode!r}; choose from abc, rlhf, uniform,"
    with pytest.raises(ValueError, match=re.escape(start)):
        assign_credit(mode, Evidence(MASK, REWARD, POLICY))
    with pytest.raises(ValueError, match=re.escape(start)):
        needs(mode)


@pytest.mark.parametrize("mode", ["abc", "abc-d"])
def test_unknown_alignments(mode):
    left: Any = "left"
    with refuses("alignment must name an alignment, received 'left'"):
        assign_credit(mode, Evidence(MASK, REWARD, POLICY), alignment=left)


@pytest.mark.parametrize("beta", [-0.1, 1.1, NAN, INF, True, False, None, "0.8", torch.tensor(0.8)])
@pytest.mark.parametrize("spread_with", [densify, blend])
def test_beta(spread_with, beta):
    arguments = (SCORES, REWARD) if spread_with is densify else (REWARD, SCORES)
    with refuses(f"beta must be a number in [0, 1], received {beta!r}"):
        spread_with(*arguments, MASK, beta)


@pytest.mark.parametrize(
    ("scores", "rest"),
    [
        ([1.0, -1.0], "be a torch.Tensor, received list"),
        (SCORES.long(), "be floating point, received torch.int64"),
        (SCORES[:1], "have shape [B] = [2], received [1]"),  # would broadcast in silence
        (SCORES[:, None], "have shape [B] = [2], received [2, 1]"),
        (changed(SCORES, 1, NAN), "be finite in float32, received nan at index [1]"),
        (changed(SCORES, 0, -INF), "be finite in float32, received -inf at index [0]"),
        (SCORES.double() * 1e300, "be finite in float32, received inf at index [0]"),
    ],
)
def test_scores(scores, rest):
    with refuses(f"scores must {rest}"):
        densify(scores, REWARD, MASK, 0.8)
    with refuses(f"scores must {rest}"):
        blend(REWARD, scores, MASK, 0.8)


@pytest.mark.parametrize(
    ("weights", "rest"),
    [
        (REWARD[:1], "have shape [B, R] = [2, 3], received [1, 3]"),
        (REWARD.int(), "be floating point, received torch.int32"),
        (changed(REWARD, (0, 2), 0.25), "be 0 off the response, received 0.25 at index [0, 2]"),
        (changed(REWARD, (1, 0), NAN), "be 0 off the response, received nan at index [1, 0]"),
        (changed(REWARD, (1, 1), -0.5), "be finite and >= 0, received -0.5 at index [1, 1]"),
        (changed(REWARD, (1, 1), NAN), "be finite and >= 0, received nan at index [1, 1]"),
        (changed(REWARD, (1, 1), 0.75), "sum to 1 in each row, received 1.25 at index [1]"),
        (REWARD * 0, "sum to 1 in each row, received 0 at index [0]"),
    ],
)
def test_weights(weights, rest):
    with refuses(f"weights must {rest}"):
        densify(SCORES, weights, MASK, 0.8)


def test_weights_may_be_off_by_what_float32_costs():
    densify(SCORES, REWARD * (1 + 5e-6), MASK, 0.8)
    with refuses("weights must sum to 1 in each row"):
        densify(SCORES, REWARD * (1 + 2e-5), MASK, 0.8)


@pytest.mark.parametrize(
    ("spread", "rest"),
    [
        (REWARD[:, :2], "have shape [B, R] = [2, 3], received [2, 2]"),
        (changed(REWARD, (0, 1), NAN), "be finite in float32, received nan at index [0, 1]"),
    ],
)
def test_spreads(spread, rest):
    with refuses(f"spread must {rest}"):
        blend(spread, SCORES, MASK, 0.8)


def test_an_empty_batch_is_no_error():
    nothing = torch.zeros(0, 3)
    credit = assign_credit("abc", Evidence(nothing.bool(), nothing))
    assert credit.weights.shape == (0, 3)
    assert densify(nothing[:, 0], credit.weights, nothing.bool(), 0.8).shape == (0, 3)
