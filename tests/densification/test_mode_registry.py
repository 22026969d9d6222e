"""The table of modes: complete, minimal about what it needs, and all it takes to add one."""

from dataclasses import fields

import pytest
import torch

from abcrl.densification import (
    Evidence,
    RewardMode,
    assign_credit,
    assign_token_scores,
    needs,
)
from abcrl.densification.evidence import FIELDS
from abcrl.densification.modes import MODES, ModeSpec, SignedSpec

MASK = torch.tensor([[False, True, True, True]])


def test_every_reward_mode_has_its_line():
    assert set(MODES) == set(RewardMode)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("rlhf", set()),
        ("uniform", set()),
        ("abc", {"reward_attention"}),
        ("abc-d", {"policy_attention"}),
        ("abc-d2", {"policy_attention"}),
        ("shuffled", {"reward_attention", "noise"}),
        ("swapped", {"bank_row"}),
        ("position", {"profile"}),
        ("random", {"reward_attention", "noise"}),
        ("red", {"prefix_scores"}),
    ],
)
def test_needs_name_what_to_capture(mode, expected):
    assert needs(mode) == expected
    assert needs(RewardMode(mode)) == expected


def test_needs_are_fields_of_evidence():
    assert set(FIELDS) == {field.name for field in fields(Evidence)} - {"response_mask"}
    assert all(needs(mode) <= set(FIELDS) for mode in MODES)


@pytest.mark.parametrize("mode", list(RewardMode))
def test_what_a_mode_does_not_need_it_does_not_read(mode):
    # Everything else may be missing, or nonsense.
    garbage = {field: torch.full((7,), float("nan")) for field in FIELDS}
    observed = {
        "reward_attention": torch.rand(1, 4),
        "policy_attention": torch.zeros(1, 4, 4),
        "noise": torch.rand(1, 4),
        "bank_row": torch.rand(1, 4),
        "profile": torch.rand(10),
        "prefix_scores": torch.rand(1, 5),
    }
    needed = {field: observed[field] for field in needs(mode)}
    score = torch.ones(1)
    with_garbage = assign_token_scores(mode, Evidence(MASK, **(garbage | needed)), score, 0.8)
    without = assign_token_scores(mode, Evidence(MASK, **needed), score, 0.8)
    assert torch.equal(with_garbage.token_scores, without.token_scores)


def test_the_five_modes_of_the_paper_are_told_apart():
    # A comparison runs these unless told otherwise; a new mode must not join them unasked.
    assert [mode.value for mode in RewardMode if mode.in_paper] == [
        "abc",
        "rlhf",
        "uniform",
        "abc-d",
        "abc-d2",
    ]


def squared_attention(_response_mask, reward_attention):
    return reward_attention.square()


def test_a_new_mode_is_a_function_and_a_line(monkeypatch):
    # Outside of this test its name is also a line of RewardMode, which users choose from.
    spec = ModeSpec(squared_attention, frozenset({"reward_attention"}))
    monkeypatch.setitem(MODES, "abc-squared", spec)

    # 1 : 4 : 25 over their sum, 30; the 9 is padding.
    evidence = Evidence(MASK, reward_attention=torch.tensor([[9.0, 1, 2, 5]]))
    credit = assign_credit("abc-squared", evidence)
    torch.testing.assert_close(credit.weights, torch.tensor([[0, 1 / 30, 4 / 30, 25 / 30]]))
    assert needs("abc-squared") == {"reward_attention"}

    # What it did not have to write: the fallback, the refusals, the list in the error message.
    assert assign_credit("abc-squared", Evidence(MASK, torch.zeros(1, 4))).fell_back.all()
    with pytest.raises(ValueError, match=r"^evidence.reward_attention must be given for .*squared"):
        assign_credit("abc-squared", Evidence(MASK))
    with pytest.raises(ValueError, match="abc-squared"):
        needs("no such mode")


def halves_of_either_sign(evidence, scores):
    # +1.5 scores on the first of the three tokens, -0.5 on the second.
    return scores[:, None] * torch.tensor([0.0, 1.5, -0.5, 0.0])


def test_a_new_signed_mode_is_a_function_and_a_line_too(monkeypatch):
    monkeypatch.setitem(MODES, "signed", SignedSpec(halves_of_either_sign))
    credit, token_scores = assign_token_scores("signed", Evidence(MASK), torch.tensor([4.0]), 0.5)
    # Half of (6, -2, 0), and half of the score on the last token.
    assert token_scores.tolist() == [[0, 3, -1, 2]]
    # What is reported as its credit: the shares 6 : 2 of what it moves.
    assert credit.weights.tolist() == [[0, 0.75, 0.25, 0]]
    with pytest.raises(
        ValueError, match=r"^mode must credit by weights, received 'signed'; .*call"
    ):
        assign_credit("signed", Evidence(MASK))


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_mode_that_breaks_its_promise_is_named(monkeypatch, value):
    spec = ModeSpec(lambda response_mask: torch.full(response_mask.shape, value))
    monkeypatch.setitem(MODES, "broken", spec)
    with pytest.raises(ValueError, match=r"^raw credit of mode broken must be finite"):
        assign_credit("broken", Evidence(MASK))
