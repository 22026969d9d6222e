"""The table of modes: complete, minimal about what it needs, and all it takes to add one."""

from dataclasses import fields

import pytest
import torch

from abcrl.densification import Evidence, RewardMode, assign_credit, needs
from abcrl.densification.evidence import AXES
from abcrl.densification.modes import MODES, ModeSpec

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
    ],
)
def test_needs_name_what_to_capture(mode, expected):
    assert needs(mode) == expected
    assert needs(RewardMode(mode)) == expected


def test_needs_are_fields_of_evidence():
    assert set(AXES) == {field.name for field in fields(Evidence)} - {"response_mask"}
    assert all(needs(mode) <= set(AXES) for mode in MODES)


@pytest.mark.parametrize("mode", RewardMode)
def test_what_a_mode_does_not_need_it_does_not_read(mode):
    # Everything else may be missing, or nonsense.
    garbage = {field: torch.full((7,), float("nan")) for field in AXES}
    observed = {"reward_attention": torch.rand(1, 4), "policy_attention": torch.zeros(1, 4, 4)}
    needed = {field: observed[field] for field in needs(mode)}
    with_garbage = assign_credit(mode, Evidence(MASK, **(garbage | needed)))
    assert torch.equal(with_garbage.weights, assign_credit(mode, Evidence(MASK, **needed)).weights)


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


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_mode_that_breaks_its_promise_is_named(monkeypatch, value):
    spec = ModeSpec(lambda response_mask: torch.full(response_mask.shape, value))
    monkeypatch.setitem(MODES, "broken", spec)
    with pytest.raises(ValueError, match=r"^raw credit of mode broken must be finite"):
        assign_credit("broken", Evidence(MASK))
