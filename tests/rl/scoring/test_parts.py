"""Batches in parts: every row once, within the limit, and put back where it was."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from abcrl.config import PpoSettings
from abcrl.data import Prompt
from abcrl.rl.actors import Actors
from abcrl.rl.scoring import scorer
from abcrl.rl.scoring.parts import join_parts, split_rows
from tests.rl.rollouts import sample

MakeActors = Callable[..., Actors]
EVERYTHING = frozenset({"reward_attention", "prefix_scores"})
LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=20)


def test_a_batch_that_fits_stays_as_it_is():
    (rows,) = split_rows(torch.tensor([2, 5, 3]), 15)
    assert rows.tolist() == [0, 1, 2]


def test_rows_of_similar_length_go_together():
    # 3 x 5 = 15 positions do not fit into 12; the two longest take 2 x 5, the rest 2 x 2
    parts = split_rows(torch.tensor([2, 5, 1, 4]), 12)
    assert [rows.tolist() for rows in parts] == [[1, 3], [0, 2]]


def test_a_row_longer_than_the_limit_is_a_part_of_its_own():
    assert [rows.tolist() for rows in split_rows(torch.tensor([7, 9]), 4)] == [[1], [0]]


@given(LENGTHS, st.integers(1, 200))
def test_every_row_is_in_one_part_and_parts_keep_the_limit(lengths, at_once):
    parts = split_rows(torch.tensor(lengths), at_once)

    assert sorted(row for rows in parts for row in rows.tolist()) == list(range(len(lengths)))
    for rows in parts:
        longest = max(lengths[row] for row in rows)
        assert len(rows) == 1 or len(rows) * longest <= at_once


@given(LENGTHS, st.integers(1, 200))
def test_parts_are_put_back_in_place(lengths, at_once):
    width = max(lengths)
    mask = torch.arange(width) < torch.tensor(lengths)[:, None]
    whole = torch.arange(1.0, mask.numel() + 1).view(mask.shape).where(mask, 0.0)
    parts = split_rows(torch.tensor(lengths), at_once)
    pieces = [whole[rows][:, : int(mask[rows].any(0).sum())] for rows in parts]

    assert_close(join_parts(parts, pieces, whole.shape), whole)


@pytest.mark.parametrize("at_once", [1, 40, 100])
def test_scoring_in_parts_changes_nothing(
    monkeypatch, make_actors: MakeActors, prompts: list[Prompt], settings: PpoSettings, at_once
):
    actors = make_actors()
    responses = sample(actors, prompts, settings)
    whole = actors.scorer.score(responses, EVERYTHING)
    batches: list[int] = []
    actors.scorer.reward_model.model.base_model.register_forward_pre_hook(
        lambda _, __, inputs: batches.append(len(inputs["input_ids"])), with_kwargs=True
    )
    monkeypatch.setattr(scorer, "TOKENS_AT_ONCE", at_once)
    parts = actors.scorer.score(responses, EVERYTHING)

    assert sum(batches) == 16
    assert len(batches) > 1
    for ours, theirs in zip(parts, whole, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert_close(ours, theirs, atol=1e-5, rtol=0)
