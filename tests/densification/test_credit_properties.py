"""The invariants of the core, over all modes, lengths, masks, dtypes and padding sides."""

from typing import NamedTuple

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from abcrl.densification import (
    Alignment,
    Credit,
    Evidence,
    RewardMode,
    assign_credit,
    blend,
    densify,
)

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
many = settings(max_examples=400)


class Case(NamedTuple):
    mode: RewardMode
    alignment: Alignment
    dtype: torch.dtype
    evidence: Evidence
    scores: Tensor
    beta: float

    def credit(self) -> Credit:
        return assign_credit(self.mode, self.evidence, alignment=self.alignment)

    def token_scores(self) -> Tensor:
        return densify(self.scores, self.credit().weights, self.evidence.response_mask, self.beta)


@st.composite
def masks(draw):
    """Up to five rows of 1 to 24 columns: padded left, right, on both sides, or full of holes."""
    width = draw(st.integers(1, 24))
    rows = []
    for _ in range(draw(st.integers(1, 5))):
        if draw(st.booleans()):  # any pattern but the empty one
            bits = draw(st.integers(1, 2**width - 1))
            rows.append([bool(bits >> column & 1) for column in range(width)])
        else:
            start = draw(st.integers(0, width - 1))
            stop = draw(st.integers(start + 1, width))
            rows.append([start <= column < stop for column in range(width)])
    return torch.tensor(rows)


def draw_attention(
    shape: tuple[int, ...], dtype: torch.dtype, kind: str, generator: torch.Generator
) -> Tensor:
    """Non-negative values of one kind: everyday, mostly zero, denormal, next to overflow."""
    values = torch.rand(shape, generator=generator, dtype=torch.float64)
    if kind == "sparse":
        values = values * (torch.rand(shape, generator=generator) < 0.1)
    if kind == "tiny":
        smallest = torch.finfo(dtype).smallest_normal
        values = values * max(smallest, torch.finfo(torch.float32).smallest_normal)
    if kind == "huge":
        values = values * min(torch.finfo(dtype).max, torch.finfo(torch.float32).max)
    return values.to(dtype)


def spoil(values: Tensor, counts: Tensor) -> Tensor:
    """Write garbage wherever evidence does not count."""
    return values.masked_fill(~counts, float("nan"))


@st.composite
def cases(draw):
    mask = draw(masks())
    B, R = mask.shape
    dtype = draw(st.sampled_from(DTYPES))
    kind = draw(st.sampled_from(["everyday", "sparse", "tiny", "huge"]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    pairs = mask[:, :, None] & mask[:, None, :]
    reward = draw_attention((B, R), dtype, kind, generator)
    policy = draw_attention((B, R, R), dtype, kind, generator).tril(-1)
    size = draw(st.sampled_from([0.0, 1e-3, 1.0, 1e3]))
    return Case(
        mode=draw(st.sampled_from(RewardMode)),
        alignment=draw(st.sampled_from(["attended", "paper"])),
        dtype=dtype,
        evidence=Evidence(mask, spoil(reward, mask), spoil(policy, pairs)),
        scores=size * torch.randn(B, generator=generator, dtype=torch.float64).to(dtype),
        beta=draw(st.sampled_from([0.0, 0.3, 0.8, 1.0])),
    )


def assert_are_weights(weights: Tensor, mask: Tensor, tolerance: float = 1e-6) -> None:
    assert weights.dtype == torch.float32
    assert weights.shape == mask.shape
    assert weights.isfinite().all()
    assert (weights >= 0).all()
    assert (weights[~mask] == 0).all()
    assert ((weights.double().sum(-1) - 1).abs() <= tolerance).all()


@many
@given(cases())
def test_invariant_1_each_row_of_weights_sums_to_one(case):
    assert_are_weights(case.credit().weights, case.evidence.response_mask)


@pytest.mark.parametrize(("length", "tolerance"), [(1000, 1e-6), (3000, 1e-5)])
@pytest.mark.parametrize("mode", RewardMode)
def test_invariant_1_holds_for_long_responses(mode, length, tolerance):
    generator = torch.Generator().manual_seed(length)
    mask = torch.ones(2, length, dtype=torch.bool)
    mask[1, ::3] = False
    policy = torch.rand(2, length, length, generator=generator).tril_(-1)
    evidence = Evidence(mask, torch.rand(2, length, generator=generator), policy)
    weights = assign_credit(mode, evidence).weights
    assert_are_weights(weights, mask, tolerance)
    scores = torch.tensor([7.0, -700.0])
    token_scores = densify(scores, weights, mask, 0.8)
    assert ((token_scores.double().sum(-1) - scores).abs() <= 1e-5 * scores.abs()).all()


@many
@given(cases())
def test_invariant_2_the_return_is_the_score(case):
    token_scores, scores = case.token_scores(), case.scores.float()
    assert token_scores.dtype == torch.float32
    assert (token_scores[~case.evidence.response_mask] == 0).all()
    error = (token_scores.double().sum(-1) - scores.double()).abs()
    assert (error <= 1e-5 * scores.abs().clamp(min=1)).all()


@many
@given(cases())
def test_invariant_3_beta_zero_is_rlhf_exactly(case):
    mask = case.evidence.response_mask
    rlhf = densify(case.scores, assign_credit("rlhf", Evidence(mask)).weights, mask, 1.0)
    assert torch.equal(case._replace(beta=0.0).token_scores(), rlhf)
    # Worked out without the core: the score in the last True column, 0 elsewhere.
    for row, score, token_scores in zip(mask, case.scores.float(), rlhf, strict=True):
        expected = [0.0] * len(row)
        expected[row.nonzero()[-1].item()] = score.item()
        assert token_scores.tolist() == expected


@many
@given(cases(), st.data())
def test_invariant_4_rows_without_attention_are_uniform_and_flagged(case, data):
    mask = case.evidence.response_mask
    emptied = torch.tensor(
        data.draw(st.lists(st.booleans(), min_size=len(mask), max_size=len(mask)))
    )
    reward = case.evidence.reward_attention.masked_fill(mask & emptied[:, None], 0)
    policy = case.evidence.policy_attention.masked_fill(
        (mask & emptied[:, None])[:, :, None] & mask[:, None, :], 0
    )
    case = case._replace(evidence=Evidence(mask, reward, policy))
    weights, fell_back = case.credit()
    reads_attention = case.mode not in {"rlhf", "uniform"}
    assert (fell_back[emptied] == reads_attention).all()
    uniform = mask.float() / mask.sum(-1, keepdim=True)
    torch.testing.assert_close(weights[fell_back], uniform[fell_back], rtol=0, atol=1e-7)


@many
@given(cases(), st.integers(0, 3), st.integers(0, 3))
def test_invariant_5_a_row_does_not_depend_on_its_batch(case, left, right):
    mask, reward, policy = (
        case.evidence.response_mask,
        case.evidence.reward_attention,
        case.evidence.policy_attention,
    )
    credit, token_scores = case.credit(), case.token_scores()
    pad = torch.nn.functional.pad
    width = mask.shape[1]
    for b in range(len(mask)):
        alone = Evidence(
            pad(mask[b : b + 1], (left, right)),
            pad(reward[b : b + 1], (left, right), value=9.0),
            pad(policy[b : b + 1], (left, right) * 2, value=9.0),
        )
        single = case._replace(evidence=alone, scores=case.scores[b : b + 1])
        inside = slice(left, left + width)
        weights, fell_back = single.credit()
        assert fell_back[0] == credit.fell_back[b]
        torch.testing.assert_close(weights[0, inside], credit.weights[b], rtol=0, atol=1e-6)
        torch.testing.assert_close(
            single.token_scores()[0, inside], token_scores[b], rtol=1e-6, atol=1e-6
        )


@many
@given(cases())
def test_invariant_7_inputs_are_left_alone_and_no_gradient_flows(case):
    inputs = [
        case.evidence.reward_attention.requires_grad_(),
        case.evidence.policy_attention.requires_grad_(),
        case.scores.requires_grad_(),
    ]
    before = [tensor.detach().clone() for tensor in inputs]
    outputs = [*case.credit(), case.token_scores()]
    assert not any(output.requires_grad for output in outputs)
    assert torch.is_grad_enabled()
    for tensor, copy in zip(inputs, before, strict=True):
        assert torch.equal(tensor.detach().nan_to_num(-1), copy.nan_to_num(-1))


@many
@given(cases())
def test_blend_keeps_what_signed_spreads_sum_to(case):
    mask, scores = case.evidence.response_mask, case.scores.float()
    spread = torch.randn(mask.shape, generator=torch.Generator().manual_seed(0))
    token_scores = blend(spread, scores, mask, case.beta).double().sum(-1)
    expected = case.beta * (spread.double() * mask).sum(-1) + (1 - case.beta) * scores.double()
    torch.testing.assert_close(token_scores, expected, rtol=1e-5, atol=1e-5)


def credit_in_plain_python(case: Case) -> Tensor:
    """The definition of the modes for one row at a time, as a paper would write it."""
    evidence, rows = case.evidence, []
    assert evidence.reward_attention is not None
    assert evidence.policy_attention is not None
    for mask, reward, policy in zip(
        evidence.response_mask.tolist(),
        evidence.reward_attention.double().tolist(),
        evidence.policy_attention.double().tolist(),
        strict=True,
    ):
        columns = [column for column, counts in enumerate(mask) if counts]
        R = [reward[j] for j in columns]
        P = [[policy[k][j] for j in columns] for k in columns]
        r = len(columns)
        raw = {
            "rlhf": [float(j == r - 1) for j in range(r)],
            "uniform": [1.0] * r,
            "abc": R,
            "abc-d": [sum(P[k][j] for k in range(j + 1, r)) / max(1, r - 1 - j) for j in range(r)],
            "abc-d2": P[r - 1],
        }[case.mode]
        if case.alignment == "paper" and case.mode in {"abc-d", "abc-d2"}:
            raw = [0.0, *raw[:-1]]
        weights = [0.0] * len(mask)
        for column, value in zip(columns, raw, strict=True):
            weights[column] = value / sum(raw) if sum(raw) else 1 / r
        rows.append(weights)
    return torch.tensor(rows)


@many
@given(cases())
@example(  # two tokens around a hole: the smallest row in which rank and column differ
    Case(
        RewardMode.ABC_D,
        "paper",
        torch.float32,
        Evidence(
            torch.tensor([[True, False, True]]), torch.zeros(1, 3), torch.ones(1, 3, 3).tril(-1)
        ),
        torch.ones(1),
        0.8,
    )
)
def test_weights_follow_the_definition(case):
    torch.testing.assert_close(
        case.credit().weights, credit_in_plain_python(case), rtol=0, atol=2e-6
    )
