"""Each reward mode on tables that a reader can check with a pencil.

Attention is written in round numbers that need not sum to 1: only proportions matter.
"""

from collections.abc import Sequence
from typing import cast

import pytest
import torch
from torch import Tensor

from abcrl.densification import Alignment, Evidence, assign_credit
from tests.densification.cases import WEIGHT_MODES

ATTENTION_MODES = ["abc", "abc-d", "abc-d2"]

Table = Sequence[Sequence[float]]

# Four response tokens; row k is the attention in force while token k was chosen.
POLICY = [
    [0.0, 0.0, 0.0, 0.0],  # token 0 was chosen from the prompt alone
    [0.6, 0.0, 0.0, 0.0],
    [0.2, 0.4, 0.0, 0.0],
    [0.1, 0.2, 0.3, 0.0],
]


def weights_of(
    mode: str,
    mask: Sequence[int],
    *,
    alignment: Alignment = "attended",
    reward: Sequence[float] | None = None,
    policy: Table | None = None,
) -> Tensor:
    evidence = Evidence(
        torch.tensor([mask], dtype=torch.bool),
        None if reward is None else torch.tensor([reward]),
        None if policy is None else torch.tensor([policy]),
    )
    credit = assign_credit(mode, evidence, alignment=alignment)
    assert credit.fell_back.tolist() == [False]
    return credit.weights[0]


def same(weights: Tensor, expected: object) -> bool:
    return torch.allclose(weights, torch.tensor(expected, dtype=torch.float32), rtol=0, atol=1e-6)


def spread_out(policy: Table, columns: list[int], width: int) -> Table:
    """Put the rows and columns of a table at the given columns of a wider window."""
    wide = torch.zeros(width, width)
    wide[torch.tensor(columns)[:, None], torch.tensor(columns)] = torch.tensor(policy)
    return cast("Table", wide.tolist())


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ([1, 1, 1, 1], [0, 0, 0, 1]),
        ([1, 1, 0, 0], [0, 1, 0, 0]),  # right padding: the last token is in column 1
        ([0, 0, 1, 1], [0, 0, 0, 1]),  # left padding
        ([1, 0, 1, 0], [0, 0, 1, 0]),  # a hole
        ([0, 1, 0, 0], [0, 1, 0, 0]),  # one token
    ],
)
def test_rlhf_credits_the_last_response_token(mask, expected):
    assert weights_of("rlhf", mask).tolist() == expected


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ([1, 1, 1, 1], [0.25, 0.25, 0.25, 0.25]),
        ([1, 1, 0, 0], [0.5, 0.5, 0, 0]),
        ([0, 0, 1, 1], [0, 0, 0.5, 0.5]),
        ([1, 0, 1, 0], [0.5, 0, 0.5, 0]),
        ([0, 1, 0, 0], [0, 1, 0, 0]),
    ],
)
def test_uniform_credits_every_response_token_alike(mask, expected):
    assert weights_of("uniform", mask).tolist() == expected


@pytest.mark.parametrize(
    ("mask", "reward", "expected"),
    [
        # 0.1 + 0.2 + 0.1 = 0.4 lies on the response, the other 0.6 on the prompt.
        ([1, 1, 1], [0.1, 0.2, 0.1], [0.25, 0.5, 0.25]),
        # The 9 is padding and does not count: 0.1 + 0.3 = 0.4.
        ([1, 1, 0], [0.1, 0.3, 9.0], [0.25, 0.75, 0]),
        ([0, 1, 1], [9.0, 0.1, 0.3], [0, 0.25, 0.75]),
        ([1, 0, 1], [0.1, 9.0, 0.3], [0.25, 0, 0.75]),
        ([0, 1, 0], [9.0, 0.3, 9.0], [0, 1, 0]),
    ],
)
def test_abc_credits_what_the_reward_model_attends_to(mask, reward, expected):
    assert same(weights_of("abc", mask, reward=reward), expected)


# abc-d, r = 4: column sums over the number of rows below.
#   token 0: (0.6 + 0.2 + 0.1) / 3 = 0.3
#   token 1: (0.4 + 0.2) / 2       = 0.3
#   token 2: 0.3 / 1               = 0.3
#   token 3: nothing was written after it = 0                 -> sum 0.9
ABC_D = [1 / 3, 1 / 3, 1 / 3, 0]

# abc-d2: the row of the last token, 0.1 + 0.2 + 0.3 = 0.6.
ABC_D2 = [1 / 6, 2 / 6, 3 / 6, 0]


@pytest.mark.parametrize(("mode", "expected"), [("abc-d", ABC_D), ("abc-d2", ABC_D2)])
def test_policy_modes_credit_the_token_that_was_attended_to(mode, expected):
    assert same(weights_of(mode, [1, 1, 1, 1], policy=POLICY), expected)


@pytest.mark.parametrize(("mode", "expected"), [("abc-d", ABC_D), ("abc-d2", ABC_D2)])
def test_paper_alignment_credits_the_token_after_it(mode, expected):
    moved = [0, *expected[:3]]
    assert same(weights_of(mode, [1, 1, 1, 1], policy=POLICY, alignment="paper"), moved)


def test_abc_d_divides_by_the_rows_that_can_see_the_token():
    # Token 0 is seen from rows 1 and 2, though row 2 looks away: 0.4 / 2 = 0.2; token 1: 0.2 / 1.
    # (The paper's code counts non-zero entries: 0.4 / 1, so token 0 would get 2/3.)
    policy = [[0.0, 0.0, 0.0], [0.4, 0.0, 0.0], [0.0, 0.2, 0.0]]
    assert same(weights_of("abc-d", [1, 1, 1], policy=policy), [0.5, 0.5, 0])


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param([0, 1, 2, 3], id="right-padded"),
        pytest.param([3, 4, 5, 6], id="left-padded"),
        pytest.param([1, 2, 4, 6], id="holed"),
    ],
)
@pytest.mark.parametrize("alignment", ["attended", "paper"])
@pytest.mark.parametrize(("mode", "table"), [("abc-d", ABC_D), ("abc-d2", ABC_D2)])
def test_tokens_are_counted_by_rank_not_by_column(mode, table, alignment, columns):
    # The same four tokens elsewhere in a window of 7: same weights, at their new columns. "Next
    # token" skips the holes.
    table = [0, *table[:3]] if alignment == "paper" else table
    expected, mask = [0.0] * 7, [0] * 7
    for column, weight in zip(columns, table, strict=True):
        expected[column], mask[column] = weight, 1
    policy = spread_out(POLICY, columns, 7)
    assert same(weights_of(mode, mask, policy=policy, alignment=alignment), expected)


def test_rows_of_a_batch_use_their_own_lengths():
    # Row 0 is the table above. Row 1 has the tokens 0 and 1 only: abc-d and abc-d2 both see
    # P[1, 0] = 0.6 alone, so token 0 takes all.
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]], dtype=torch.bool)
    evidence = Evidence(mask, policy_attention=torch.tensor([POLICY, POLICY]))
    for mode, table in [("abc-d", ABC_D), ("abc-d2", ABC_D2)]:
        weights = assign_credit(mode, evidence).weights
        assert same(weights[0], table)
        assert weights[1].tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("alignment", ["attended", "paper"])
@pytest.mark.parametrize("mode", WEIGHT_MODES)
def test_a_response_of_one_token_keeps_its_whole_score(mode, alignment):
    mask, half = torch.tensor([[False, True, False]]), torch.full((1, 3), 0.5)
    evidence = Evidence(mask, half, torch.zeros(1, 3, 3), half, half, torch.ones(10))
    credit = assign_credit(mode, evidence, alignment=alignment)
    assert credit.weights.tolist() == [[0, 1, 0]]
    # Nothing is written after the only token, so the policy's attention has no say.
    assert credit.fell_back.tolist() == [mode in {"abc-d", "abc-d2"}]


@pytest.mark.parametrize("mode", ATTENTION_MODES)
def test_no_attention_falls_back_to_uniform_and_is_flagged(mode):
    # Row 0 has no mass on its three tokens; row 1 has, and is not touched by its neighbour.
    mask = torch.tensor([[0, 1, 1, 1], [0, 0, 1, 1]], dtype=torch.bool)
    reward = torch.tensor([[5.0, 0, 0, 0], [0, 0, 1.0, 0]])
    policy = torch.zeros(2, 4, 4)
    policy[1, 3, 2] = 0.7
    credit = assign_credit(mode, Evidence(mask, reward, policy))
    assert credit.fell_back.tolist() == [True, False]
    assert same(credit.weights, [[0, 1 / 3, 1 / 3, 1 / 3], [0, 0, 1, 0]])


def test_denormal_attention_still_counts():
    # 1e-44 and 3e-44 are denormal in float32 (7 and 21 steps of 2^-149): 1/4 and 3/4 all the same.
    steps = [7 * 2.0**-149, 21 * 2.0**-149]
    assert same(weights_of("abc", [1, 1], reward=steps), [0.25, 0.75])


def test_huge_attention_does_not_overflow():
    # The plain sum of these, 6e38, is beyond float32.
    big = 1.5e38
    policy = [[0.0] * 4, [big, 0, 0, 0], [big, big, 0, 0], [big, big, 2 * big, 0]]
    assert same(weights_of("abc", [1, 1], reward=[3e38, 3e38]), [0.5, 0.5])
    # abc-d: 3 big / 3, 2 big / 2, 2 big / 1.
    assert same(weights_of("abc-d", [1, 1, 1, 1], policy=policy), [0.25, 0.25, 0.5, 0])
