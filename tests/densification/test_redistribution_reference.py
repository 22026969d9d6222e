"""Agreement with the paper's own code, on cases recorded from it.

Index conventions, with q prompt and r response tokens: response token j sits at sequence position
q + j, and the attention that chose it is the row of position q + j - 1. The recorded code credits
policy attention one token to the right, which is `alignment="paper"`.

More cases of the same schema are read from the file that ABCRL_REFERENCE_CASES names, if it does.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from abcrl.densification import Evidence, RewardMode, assign_credit, densify, needs

RECORDED = Path(__file__).parents[1] / "data" / "reference_cases.json"
Case = dict[str, Any]


def load_cases() -> dict[str, Case]:
    extra = os.environ.get("ABCRL_REFERENCE_CASES")
    cases: dict[str, Case] = {}
    for path in [RECORDED, *([Path(extra)] if extra else [])]:
        for case in json.loads(path.read_text())["redistribution"]:
            cases[case["id"]] = case
    return cases


CASES = load_cases()
CELLS = [
    pytest.param(case, mode, id=f"{name}-{mode}")
    for name, case in CASES.items()
    for mode in RewardMode
    if mode.in_paper
]


def reward_attention_of(case: Case) -> Tensor:
    """Return `[1, r]`: the row of the last position that the reward model saw, response columns."""
    q, r = case["q_len"], case["r_len"]
    attention = torch.tensor(case["rm_attention"])
    row = min(q + r, len(attention)) - 1
    return attention[row, q : q + r][None]


def policy_attention_of(case: Case) -> Tensor:
    """Return `[1, r, r]` from the teacher-forced attention of the whole sequence."""
    q, r = case["q_len"], case["r_len"]
    attention = torch.tensor(case["policy_attention_full"]).mean(0)
    return attention[q - 1 : q - 1 + r, q : q + r].tril(-1)[None]


def generation_attention_of(case: Case) -> Tensor:
    """Return the same from the rows that were recorded step by step during generation."""
    q, r = case["q_len"], case["r_len"]
    attention = torch.zeros(1, r, r)
    for k in range(1, r):
        attention[0, k, :k] = torch.tensor(case["gen_attention"][k]).mean(0)[0, q:]
    return attention


def evidence_of(case: Case) -> Evidence:
    mask = torch.ones(1, case["r_len"], dtype=torch.bool)
    return Evidence(mask, reward_attention_of(case), policy_attention_of(case))


def saw_whole_response(case: Case) -> bool:
    return bool(case["rm_truncated"] == 0)


def assert_agrees(ours: Tensor, recorded: list[float]) -> None:
    expected = torch.tensor(recorded, dtype=torch.float64)
    torch.testing.assert_close(ours.double(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("case", "mode"), CELLS)
def test_token_scores_agree_with_the_papers_code(case, mode):
    evidence = evidence_of(case)
    if "reward_attention" in needs(mode) and not saw_whole_response(case):
        with pytest.raises(ValueError, match=r"^reward_attention must have shape \[B, R\]"):
            assign_credit(mode, evidence)
        return
    credit = assign_credit(mode, evidence, alignment="paper")
    if case["status"][mode] != "ok":  # NaN or an exception there; uniform and flagged here
        assert credit.fell_back.tolist() == [True]
        assert_agrees(credit.weights[0], [1 / case["r_len"]] * case["r_len"])
        return
    assert credit.fell_back.tolist() == [False]
    if mode in case["distribution"]:
        assert_agrees(credit.weights[0], case["distribution"][mode])
    # The recorded code ignores beta in the other two: uniform spreads everything.
    beta = case["beta"] if mode in case["distribution"] else 1.0
    scores = torch.tensor([case["total"]])
    token_scores = densify(scores, credit.weights, evidence.response_mask, beta)
    assert_agrees(token_scores[0], case["expected"][mode])


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_teacher_forced_attention_equals_that_of_generation(case):
    torch.testing.assert_close(policy_attention_of(case), generation_attention_of(case))


def pad(rows: list[Tensor], width: int, side: str) -> Tensor:
    """Stack `[1, r, ...]` tensors of different r into one, with garbage for padding."""
    padded = []
    for row in rows:
        gap = width - row.shape[1]
        axes = row.ndim - 1  # pad reads from the last axis to the first
        by = (gap, 0) * axes if side == "left" else (0, gap) * axes
        fill = False if row.dtype == torch.bool else float("nan")
        padded.append(torch.nn.functional.pad(row, by, value=fill))
    return torch.cat(padded)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("mode", ["abc", "abc-d", "abc-d2"])
def test_all_cases_in_one_padded_batch(mode, side):
    cases = [case for case in CASES.values() if case["distribution"][mode] is not None]
    cases = [case for case in cases if saw_whole_response(case)]
    width = max(case["r_len"] for case in cases) + 1
    alone = [evidence_of(case) for case in cases]
    mask = pad([evidence.response_mask for evidence in alone], width, side)
    batch = Evidence(
        mask,
        pad([reward_attention_of(case) for case in cases], width, side),
        pad([policy_attention_of(case) for case in cases], width, side),
    )
    weights = assign_credit(mode, batch, alignment="paper").weights
    for row, where, case in zip(weights, mask, cases, strict=True):
        assert_agrees(row[where], case["distribution"][mode])


class TestDeliberateDifferences:
    """The recorded code misbehaves here; see the note of each case."""

    @pytest.mark.parametrize("mode", ["abc-d", "abc-d2"])
    def test_e00_one_token_takes_the_whole_score(self, mode):
        case = CASES["e00"]
        assert case["status"]["abc-d"] == "nan"
        assert case["status"]["abc-d2"].startswith("RuntimeError")
        credit = assign_credit(mode, evidence_of(case), alignment="paper")
        assert credit.weights.tolist() == [[1]]
        assert credit.fell_back.tolist() == [True]
        total = torch.tensor([case["total"]])
        mask = evidence_of(case).response_mask
        torch.testing.assert_close(densify(total, credit.weights, mask, case["beta"])[0], total)

    def test_e02_no_attention_on_the_response_falls_back_to_uniform(self):
        case = CASES["e02"]
        assert case["status"]["abc"] == "nan"
        assert reward_attention_of(case).tolist() == [[0] * 6]
        credit = assign_credit("abc", evidence_of(case))
        torch.testing.assert_close(credit.weights, torch.full((1, 6), 1 / 6))
        assert credit.fell_back.tolist() == [True]

    @pytest.mark.parametrize(("name", "columns_seen"), [("e03", 6), ("e04", 0)])
    def test_e03_e04_a_truncated_row_is_refused(self, name, columns_seen):
        # The recorded code puts the six weights of e03 on tokens 2 to 7, and raises on e04.
        case = CASES[name]
        message = rf"^reward_attention must .* \[B, R\] = \[1, 8\], received \[1, {columns_seen}\]"
        with pytest.raises(ValueError, match=message):
            assign_credit("abc", evidence_of(case))
