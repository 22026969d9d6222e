"""The invariants of the core, for every mode over all lengths, masks, dtypes and padding sides.

Signed modes keep them too; their weights are the shares of |spread| that are reported.
"""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, note, settings
from hypothesis import strategies as st
from torch import Tensor

from abcrl.densification import (
    Evidence,
    RewardMode,
    assign_credit,
    assign_token_scores,
    blend,
    densify,
    needs,
)
from tests.densification.cases import (
    SIGNED_MODES,
    Case,
    cases,
    counted,
    fields_of,
)

many = settings(max_examples=200)


def every_mode() -> Iterator[RewardMode]:
    """Each mode; a failure names the one that it is about."""
    for mode in RewardMode:
        note(f"mode: {mode}")
        yield mode


def assert_are_weights(weights: Tensor, mask: Tensor, tolerance: float = 1e-6) -> None:
    assert weights.dtype == torch.float32
    assert weights.shape == mask.shape
    assert weights.isfinite().all()
    assert (weights >= 0).all()
    assert (weights[~mask] == 0).all()
    assert ((weights.double().sum(-1) - 1).abs() <= tolerance).all()


def scale_of(case: Case, mode: str) -> Tensor:
    """What the return's error is measured by: max(1, |score|), in signed modes |V| too."""
    scale = case.scores.float().abs().clamp(min=1)
    if mode in SIGNED_MODES:
        prefixes = fields_of(case.evidence)["prefix_scores"].float()
        scale = scale.maximum(prefixes.nan_to_num(0).abs().amax(-1))
    return scale


@many
@given(case=cases())
def test_invariant_1_each_row_of_weights_sums_to_one(case):
    for mode in every_mode():
        assert_are_weights(case.run(mode).credit.weights, case.mask)


@pytest.mark.parametrize(("length", "tolerance"), [(1000, 1e-6), (3000, 1e-5)])
@pytest.mark.parametrize("mode", list(RewardMode))
def test_invariants_1_and_2_hold_for_long_responses(mode, length, tolerance):
    generator = torch.Generator().manual_seed(length)
    mask = torch.ones(2, length, dtype=torch.bool)
    mask[1, ::3] = False

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    evidence = Evidence(
        mask,
        reward_attention=uniform(2, length),
        policy_attention=uniform(2, length, length).tril_(-1) if "abc-d" in mode else None,
        noise=uniform(2, length),
        bank_row=uniform(2, length),
        profile=uniform(10),
        prefix_scores=uniform(2, length + 1),
    )
    scores = torch.tensor([7.0, -700.0])
    credit, token_scores = assign_token_scores(mode, evidence, scores, 0.8)
    assert_are_weights(credit.weights, mask, tolerance)
    assert ((token_scores.double().sum(-1) - scores).abs() <= 1e-5 * scores.abs()).all()


@many
@given(case=cases())
def test_invariant_2_the_return_is_the_score(case):
    for mode in every_mode():
        token_scores = case.run(mode).token_scores
        assert token_scores.dtype == torch.float32
        assert (token_scores[~case.mask] == 0).all()
        error = (token_scores.double().sum(-1) - case.scores.double()).abs()
        assert (error <= 1e-5 * scale_of(case, mode)).all()


@many
@given(case=cases())
def test_invariant_3_beta_zero_is_rlhf_exactly(case):
    rlhf = densify(case.scores, assign_credit("rlhf", Evidence(case.mask)).weights, case.mask, 1.0)
    for mode in every_mode():
        assert torch.equal(case._replace(beta=0.0).run(mode).token_scores, rlhf)
    # Worked out without the core: the score in the last True column, 0 elsewhere.
    for row, score, token_scores in zip(case.mask, case.scores.float(), rlhf, strict=True):
        expected = [0.0] * len(row)
        expected[row.nonzero()[-1].item()] = score.item()
        assert token_scores.tolist() == expected


@many
@given(case=cases(), data=st.data())
def test_invariant_4_rows_without_evidence_are_uniform_and_flagged(case, data):
    mask = case.mask
    emptied = torch.tensor(
        data.draw(st.lists(st.booleans(), min_size=len(mask), max_size=len(mask)))
    )
    observed, counts = fields_of(case.evidence), counted(mask)
    per_row = {"reward_attention", "policy_attention", "bank_row"}
    for name in per_row:
        rows = emptied.reshape(-1, *[1] * (observed[name].ndim - 1))
        observed[name] = observed[name].masked_fill(counts[name] & rows, 0)
    spoiled = case._replace(evidence=Evidence(mask, **observed))
    uniform = mask.float() / mask.sum(-1, keepdim=True)
    for mode in every_mode():
        weights, fell_back = spoiled.run(mode).credit
        if needs(mode) & per_row:
            assert fell_back[emptied].all()
        if mode in {"rlhf", "uniform"}:
            assert not fell_back.any()
        if mode == "position":
            assert (fell_back == (observed["profile"] == 0).all()).all()
        torch.testing.assert_close(weights[fell_back], uniform[fell_back], rtol=0, atol=1e-7)


@many
@given(case=cases(), left=st.integers(0, 3), right=st.integers(0, 3))
def test_invariant_5_a_row_does_not_depend_on_its_batch(case, left, right):
    in_batch = {mode: case.run(mode) for mode in RewardMode}
    pad = torch.nn.functional.pad
    width = case.mask.shape[1]
    for b in range(len(case.mask)):
        observed = {
            name: values
            if name == "profile"
            else pad(values[b : b + 1], (left, right) * (values.ndim - 1), value=9.0)
            for name, values in fields_of(case.evidence).items()
        }
        alone = Evidence(pad(case.mask[b : b + 1], (left, right)), **observed)
        single = case._replace(evidence=alone, scores=case.scores[b : b + 1])
        inside = slice(left, left + width)
        for mode in every_mode():
            credit, token_scores = in_batch[mode]
            (weights, fell_back), scores = single.run(mode)
            assert fell_back[0] == credit.fell_back[b]
            assert (weights[0, inside] - credit.weights[b]).abs().max() <= 1e-6
            torch.testing.assert_close(scores[0, inside], token_scores[b], rtol=1e-6, atol=1e-6)


@many
@given(case=cases(), data=st.data())
def test_invariant_6_one_bad_value_is_refused_by_name(case, data):
    for mode in every_mode():
        name = data.draw(st.sampled_from([*sorted(needs(mode)), "scores"]))
        observed = {**fields_of(case.evidence), "scores": case.scores}
        spoiled = spoil_one(name, observed[name], case.mask, data)
        if spoiled is None:
            continue
        observed[name] = spoiled
        scores = observed.pop("scores")
        with pytest.raises(ValueError, match=rf"\A{name} must [^\n]*, received [^\n]*; [^\n]+\Z"):
            assign_token_scores(mode, Evidence(case.mask, **observed), scores, case.beta)


def spoil_one(name: str, values: Tensor, mask: Tensor, data: st.DataObject) -> Tensor | None:
    """Puts a value that is refused somewhere where values count; None where none does."""
    counts = {**counted(mask), "scores": torch.ones(len(mask), dtype=torch.bool)}[name]
    if name == "policy_attention":
        counts = counts.tril(-1)
    places = counts.nonzero()
    if not len(places):
        return None
    bad = [float("nan"), float("inf"), -float("inf")]
    if name not in {"scores", "prefix_scores"}:
        bad.append(-0.5)
    if name == "noise":
        bad.append(1.0)
    place = places[data.draw(st.integers(0, len(places) - 1))]
    spoiled = values.clone()
    spoiled[tuple(place)] = data.draw(st.sampled_from(bad))
    return spoiled


@many
@given(case=cases())
def test_invariant_7_inputs_are_left_alone_and_no_gradient_flows(case):
    inputs = [*fields_of(case.evidence).values(), case.scores]
    before = [tensor.requires_grad_().detach().clone() for tensor in inputs]
    for mode in every_mode():
        (weights, fell_back), token_scores = case.run(mode)
        assert not any(output.requires_grad for output in (weights, fell_back, token_scores))
        assert torch.is_grad_enabled()
        for tensor, copy in zip(inputs, before, strict=True):
            assert torch.equal(tensor.detach().nan_to_num(-1), copy.nan_to_num(-1))


@many
@given(cases())
def test_blend_keeps_what_signed_spreads_sum_to(case):
    mask, scores = case.mask, case.scores.float()
    spread = torch.randn(mask.shape, generator=torch.Generator().manual_seed(0))
    token_scores = blend(spread, scores, mask, case.beta).double().sum(-1)
    expected = case.beta * (spread.double() * mask).sum(-1) + (1 - case.beta) * scores.double()
    torch.testing.assert_close(token_scores, expected, rtol=1e-5, atol=1e-5)
