"""The frozen credit that `swapped` and `position` draw on: who donates, and how it is drawn."""

import pytest
import torch
from torch.testing import assert_close

from abcrl.densification import fit_position_profile
from abcrl.rl.scoring.reference_credit import ReferenceCredit


def mask_of(lengths: list[int], width: int = 4) -> torch.Tensor:
    return torch.arange(width) < torch.tensor(lengths)[:, None]


@pytest.fixture
def bank() -> ReferenceCredit:
    """Four responses: two of two tokens, one of three, one of four."""
    attention = torch.tensor(
        [[1.0, 3.0, 9.0, 9.0], [1.0, 0.0, 9.0, 9.0], [1.0, 1.0, 2.0, 9.0], [1.0, 1.0, 1.0, 1.0]]
    )
    return ReferenceCredit.fit(attention, mask_of([2, 2, 3, 4]))


def test_the_bank_holds_abc_credit_and_its_profile(bank: ReferenceCredit):
    expected = [[0.25, 0.75, 0, 0], [1, 0, 0, 0], [0.25, 0.25, 0.5, 0], [0.25, 0.25, 0.25, 0.25]]
    assert_close(bank.weights, torch.tensor(expected))
    assert_close(bank.profile, fit_position_profile(bank.weights, bank.response_mask))
    assert_close(bank.profile.sum(), torch.tensor(1.0))


@pytest.mark.parametrize(
    ("length", "uniform", "expected"),
    [
        (2, 0.0, [0.25, 0.75, 0, 0]),
        (2, 0.49, [0.25, 0.75, 0, 0]),
        (2, 0.5, [1, 0, 0, 0]),  # two of this length, each for half of the numbers
        (2, 1 - 2**-24, [1, 0, 0, 0]),
        (3, 0.9, [0.25, 0.25, 0.5, 0]),  # the only one of its length
        (1, 0.6, [1, 0, 0, 0]),  # none of its length: the nearest, on one token
    ],
)
def test_the_donor_has_the_same_length_where_one_has(
    bank: ReferenceCredit, length, uniform, expected
):
    row = bank.donate(mask_of([length]), torch.tensor([uniform]))
    assert_close(row, torch.tensor([expected], dtype=torch.float32))


def test_a_donor_depends_on_no_other_row(bank: ReferenceCredit):
    lengths, uniforms = [2, 4, 3, 1, 2], torch.tensor([0.1, 0.9, 0.4, 0.7, 0.8])
    together = bank.donate(mask_of(lengths), uniforms)
    for row, length in enumerate(lengths):
        alone = bank.donate(mask_of([length], width=length), uniforms[row : row + 1])
        assert torch.equal(alone[0], together[row, :length])


def test_a_response_longer_than_the_bank_is_wide_gets_credit(bank: ReferenceCredit):
    onto = torch.ones(1, 6, dtype=torch.bool)
    row = bank.donate(onto, torch.tensor([0.0]))
    assert_close(row, torch.full((1, 6), 1 / 6))  # of the one of four tokens, which is flat


def test_each_donor_is_as_likely(bank: ReferenceCredit):
    uniforms = torch.rand(2000, generator=torch.Generator().manual_seed(1))
    rows = bank.donate(mask_of([2] * 2000), uniforms)
    assert abs((rows[:, 0] == 1).float().mean() - 0.5) < 0.05
