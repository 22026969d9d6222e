"""What controls and prefix differences refuse: field, rule, received and what to do."""

import re

import pytest
import torch
from torch import Tensor

from abcrl.densification import (
    Evidence,
    assign_credit,
    assign_token_scores,
    fit_position_profile,
    needs,
    prefix_differences,
    resample_weights,
)

NAN, INF = float("nan"), float("inf")
MASK = torch.tensor([[1, 1, 0], [0, 1, 1]], dtype=torch.bool)
HALVES = torch.tensor([[0.5, 0.5, 0], [0, 0.5, 0.5]])
PREFIXES = torch.tensor([[0.5, 1.0, NAN, NAN], [NAN, 0.5, 1.0, NAN]])
SCORES = torch.tensor([1.0, -1.0])
GOOD = {
    "reward_attention": HALVES,
    "noise": HALVES,
    "bank_row": HALVES,
    "profile": torch.ones(10),
    "prefix_scores": PREFIXES,
}


def refuses(start: str) -> pytest.RaisesExc[ValueError]:
    """Expect a ValueError of one line that starts like this and goes on to say what to do."""
    return pytest.raises(ValueError, match=rf"\A{re.escape(start)}[^\n]*; [^\n]+\Z")


def spread(mode: str, **changed: Tensor | None) -> Tensor:
    fields = {name: values for name, values in GOOD.items() if name in needs(mode)}
    return assign_token_scores(mode, Evidence(MASK, **{**fields, **changed}), SCORES, 0.8)[1]


def with_value(values: Tensor, index: tuple[int, ...], value: float) -> Tensor:
    values = values.clone()
    values[index] = value
    return values


MODES = ["shuffled", "swapped", "position", "random", "red"]
CELLS = [(mode, field) for mode in MODES for field in sorted(needs(mode))]


@pytest.mark.parametrize(("mode", "field"), CELLS)
def test_missing_evidence_names_mode_and_field(mode, field):
    spread(mode)
    with refuses(f"evidence.{field} must be given for reward mode {mode}, received None"):
        spread(mode, **{field: None})


@pytest.mark.parametrize(("mode", "field"), CELLS)
def test_structure(mode, field):
    good = GOOD[field]
    shape = {"profile": "[10] = [10]", "prefix_scores": "[B, R+1] = [2, 4]"}
    with refuses(f"{field} must have shape {shape.get(field, '[B, R] = [2, 3]')}, received [1"):
        spread(mode, **{field: good[None]})
    with refuses(f"{field} must be floating point, received torch.int64"):
        spread(mode, **{field: good.nan_to_num(0).long()})
    with refuses(f"{field} must be on the device of response_mask (cpu), received meta"):
        spread(mode, **{field: good.to("meta")})


@pytest.mark.parametrize("value", [NAN, INF, -0.5, 1.0, 7.0])
@pytest.mark.parametrize("mode", ["shuffled", "random"])
def test_noise_is_uniform(mode, value):
    start = f"noise must be in [0, 1) on the response, received {value:g} at index [1, 2]"
    with refuses(start):
        spread(mode, noise=with_value(HALVES, (1, 2), value))


def test_noise_that_rounds_up_to_one():
    # Below 1 in float64, not in the float32 that everything is computed in.
    with refuses("noise must be in [0, 1) on the response, received 1 at index [0, 0]"):
        spread("random", noise=with_value(HALVES.double(), (0, 0), 1 - 1e-12))


@pytest.mark.parametrize("value", [NAN, INF, -0.5])
def test_values_of_bank_and_profile(value):
    rule = "be finite in float32 and >= 0"
    with refuses(f"bank_row must {rule} on the response, received {value:g} at index [0, 1]"):
        spread("swapped", bank_row=with_value(HALVES, (0, 1), value))
    with refuses(f"profile must {rule}, received {value:g} at index [9]"):
        spread("position", profile=with_value(torch.ones(10), (9,), value))


@pytest.mark.parametrize("index", [(0, 0), (0, 1), (1, 1), (1, 2)])
def test_values_of_prefix_scores(index):
    start = f"prefix_scores must be finite in float32, received nan at index {list(index)}"
    with refuses(start):
        spread("red", prefix_scores=with_value(PREFIXES, index, NAN))


def test_scores_of_prefix_differences():
    with refuses("scores must be finite in float32, received nan at index [0]"):
        prefix_differences(PREFIXES, SCORES * NAN, MASK)
    with refuses("scores must have shape [B] = [2], received [1]"):
        prefix_differences(PREFIXES, SCORES[:1], MASK)
    with refuses("response_mask must have a response token in every row, received 0 at index [0]"):
        prefix_differences(PREFIXES.nan_to_num(0), SCORES, torch.zeros_like(MASK))
    huge = torch.tensor([[-3e38, 3e38, 0, 0], [0, 0, 0, 0]])
    with refuses("spread of mode red must be finite in float32, received inf at index [0, 0]"):
        prefix_differences(huge, SCORES, MASK)


def test_unknown_alignment_and_beta_of_a_signed_mode():
    evidence = Evidence(MASK, prefix_scores=PREFIXES)
    with refuses("alignment must name an alignment, received 'left'"):
        assign_token_scores("red", evidence, SCORES, 0.8, alignment="left")  # type: ignore[arg-type]
    with refuses("beta must be a number in [0, 1], received 1.5"):
        assign_token_scores("red", evidence, SCORES, 1.5)
    with refuses("mode must name a reward mode, received 'read'"):
        assign_token_scores("read", evidence, SCORES, 0.8)


def test_resampling():
    with refuses("onto must be bool, received torch.int64"):
        resample_weights(HALVES, MASK, MASK.long())
    with refuses("onto must have 2 rows, received 1"):
        resample_weights(HALVES, MASK, MASK[:1])
    with refuses("onto must be on the device of response_mask (cpu), received meta"):
        resample_weights(HALVES, MASK, MASK.to("meta"))
    with refuses("onto must have a response token in every row, received 0 at index [0]"):
        resample_weights(HALVES, MASK, torch.zeros_like(MASK))
    with refuses("response_mask must have a response token in every row, received 0 at index [0]"):
        resample_weights(HALVES, torch.zeros_like(MASK), MASK)
    with refuses("weights must have shape [B, R] = [2, 3], received [2, 2]"):
        resample_weights(HALVES[:, :2], MASK, MASK)
    with refuses("weights must be finite in float32 and >= 0 on the response, received -0.5 at"):
        resample_weights(-HALVES, MASK, MASK)


def test_a_profile_of_no_response():
    with refuses("weights must have at least one row, received 0"):
        fit_position_profile(HALVES[:0], MASK[:0])


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_batch_is_no_error(mode):
    nothing = torch.zeros(0, 3)
    evidence = Evidence(
        nothing.bool(),
        nothing,
        noise=nothing,
        bank_row=nothing,
        profile=torch.ones(10),
        prefix_scores=torch.zeros(0, 4),
    )
    assert assign_token_scores(mode, evidence, nothing[:, 0], 0.8)[1].shape == (0, 3)
    if mode != "red":
        assert assign_credit(mode, evidence).weights.shape == (0, 3)
