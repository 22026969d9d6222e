"""Faithful credit is told from unfaithful credit, for scores of any sign, scale and offset."""

import random
from collections.abc import Sequence
from dataclasses import astuple

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from abcrl.analysis.quality.faithfulness import (
    Estimate,
    Faithfulness,
    judge_credit,
    probe_response,
    rank_correlation,
    summarise_faithfulness,
)
from abcrl.analysis.quality.perturbation import Curves, Score
from abcrl.models import RewardModel

PROMPT = [0, 1]


def additive(parts: Sequence[float], *, scale: float = 1, offset: float = 0) -> Score:
    """A score to which each response token adds its part: ids from 2 on are places in `parts`."""
    values = [0.0, 0.0, *parts]
    return lambda texts: torch.tensor(
        [scale * sum(values[i] for i in ids) + offset for ids in texts], dtype=torch.float64
    )


def ids_for(parts: Sequence[float]) -> list[int]:
    return list(range(2, 2 + len(parts)))


def judge(
    parts: Sequence[float],
    credit: Sequence[float],
    *,
    signed: bool = False,
    score: Score | None = None,
    steps: int = 10,
) -> Faithfulness:
    """How faithful `credit` is to a score that adds up `parts`."""
    score = score or additive(parts)
    probe = probe_response(score, PROMPT, ids_for(parts), steps=steps)
    return judge_credit(score, probe, torch.tensor(credit, dtype=torch.float64), signed=signed)


magnitudes = st.lists(st.integers(0, 20).map(float), min_size=1, max_size=30)
mixed = st.lists(st.integers(-20, 20).map(float), min_size=1, max_size=30)


class TestRankCorrelation:
    def test_by_hand(self):
        # Ranks 1, 2, 3, 4 and 2, 1, 4, 3: 1 - 6 * (1 + 1 + 1 + 1) / (4 * 15) = 0.6.
        parts, drops = torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([2.0, 1.0, 9.0, 3.0])
        assert rank_correlation(parts, drops, signed=False) == pytest.approx(0.6)

    def test_ties_share_their_average_rank(self):
        # Ranks 1.5, 1.5, 3 and 1, 2, 3; deviations -.5, -.5, 1 and -1, 0, 1: 1.5 / sqrt(1.5 * 2).
        parts, drops = torch.tensor([0.2, 0.2, 0.6]), torch.tensor([1.0, 2.0, 3.0])
        expected = 1.5 / 3**0.5
        assert rank_correlation(parts, drops, signed=False) == pytest.approx(expected)

    def test_weights_are_held_against_the_size_of_drops_and_signed_parts_against_their_sign(self):
        values, drops = torch.tensor([0.1, 0.2, 0.7]), torch.tensor([1.0, -2.0, -3.0])
        assert rank_correlation(values, drops, signed=False) == pytest.approx(1)
        assert rank_correlation(values, drops, signed=True) == pytest.approx(-1)
        assert rank_correlation(-values, drops, signed=True) == pytest.approx(1)

    @pytest.mark.parametrize(
        ("parts", "drops"),
        [([0.5, 0.5], [1.0, 2.0]), ([0.1, 0.9], [-3.0, 3.0]), ([1.0], [2.0])],
    )
    def test_what_is_constant_has_no_rank(self, parts, drops):
        # Weights against |drop|: -3 and 3 are the same size.
        assert rank_correlation(torch.tensor(parts), torch.tensor(drops), signed=False) is None

    @given(st.lists(st.tuples(st.integers(0, 5), st.integers(-5, 5)), min_size=3, max_size=20))
    def test_agrees_with_scipy_and_stays_within_its_bounds(self, pairs):
        parts, drops = torch.tensor(pairs, dtype=torch.float64).T
        assume(len(parts.unique()) > 1 and len(drops.unique()) > 1)
        found = rank_correlation(parts, drops, signed=True)
        assert found == pytest.approx(stats.spearmanr(parts, drops).statistic)
        assert -1 <= known(found) <= 1


class TestOneResponse:
    def test_credit_that_is_the_score_s_own_parts_is_as_good_as_can_be(self):
        result = judge([1, 2, 3], [1 / 6, 2 / 6, 3 / 6])
        assert result.correlation == pytest.approx(1)
        # The best order's area, 11/3: see the curves by hand in test_perturbation.py.
        assert result.curves.deletion_area == pytest.approx(11 / 3)
        assert result.curves.insertion_area == pytest.approx(11 / 3)
        assert result.deletion == pytest.approx(11 / 3 - result.random.deletion_area)
        assert result.insertion == pytest.approx(11 / 3 - result.random.insertion_area)
        assert result.effect == pytest.approx(6)

    def test_credit_upside_down_is_as_bad_as_can_be(self):
        result = judge([1, 2, 3], [3 / 6, 2 / 6, 1 / 6])
        assert result.correlation == pytest.approx(-1)
        assert result.curves.deletion_area == pytest.approx(7 / 3)

    @given(magnitudes, st.integers(1, 12), st.randoms(use_true_random=False))
    def test_no_order_beats_that_of_the_parts(self, parts, steps, shuffler):
        best = judge(parts, parts, steps=steps)
        other = judge(parts, shuffler.sample(parts, len(parts)), steps=steps)
        assert best.deletion >= max(other.deletion, 0) - 1e-9
        assert best.insertion >= max(other.insertion, 0) - 1e-9
        assert best.deletion == pytest.approx(best.insertion)
        distinct = len(set(parts)) > 1
        assert best.correlation == (pytest.approx(1) if distinct else None)

    @given(magnitudes, st.randoms(use_true_random=False))
    def test_curves_of_parts_of_one_sign_stay_between_0_and_the_effect(self, parts, shuffler):
        result = judge(parts, shuffler.sample(parts, len(parts)))
        for curves in (result.curves, result.random):
            for curve in (curves.deletion, curves.insertion):
                assert curve[0] == 0
                assert curve[-1] == pytest.approx(result.effect)
                assert list(curve) == sorted(curve)
            assert 0 <= curves.deletion_area <= result.effect + 1e-9
            assert 0 <= curves.insertion_area <= result.effect + 1e-9

    @given(mixed)
    def test_signed_parts_come_in_the_direction_of_the_effect(self, parts):
        right = judge(parts, parts, signed=True)
        wrong = judge(parts, [-part for part in parts], signed=True)
        assert right.deletion >= -1e-9
        assert wrong.deletion <= 1e-9
        if len(set(parts)) > 1:
            assert right.correlation == pytest.approx(1)
            assert wrong.correlation == pytest.approx(-1)

    @given(mixed, st.sampled_from([-1.0, 0.5, 3.0]), st.floats(-50, 50), st.booleans())
    def test_scale_sign_and_offset_of_the_score_change_nothing_but_the_unit(
        self, parts, scale, offset, signed
    ):
        credit = parts if signed else [abs(part) for part in parts]
        plain = judge(parts, credit, signed=signed)
        scaled = [scale * part for part in credit] if signed else credit
        changed = judge(
            parts, scaled, signed=signed, score=additive(parts, scale=scale, offset=offset)
        )
        assume(plain.effect > 0)
        assert changed.correlation == pytest.approx(plain.correlation)
        for name in ("deletion", "insertion", "effect"):
            unit = abs(scale)
            assert getattr(changed, name) == pytest.approx(unit * getattr(plain, name), abs=1e-6)

    def test_a_response_without_effect_has_no_direction(self):
        result = judge([2, -2, 0], [0.6, 0.3, 0.1])
        assert (result.effect, result.deletion, result.insertion) == (0, 0, 0)
        assert result.correlation is not None

    def test_a_response_of_one_token_has_neither_rank_nor_order(self):
        result = judge([3.0], [1.0])
        assert result.correlation is None
        assert (result.deletion, result.insertion, result.effect) == (0, 0, 3)

    @pytest.mark.parametrize(
        ("parts", "said"),
        [
            ([0.5, 0.5], r"^parts must have shape \[3\], received \[2\]"),
            ([0.5, 0.5, float("nan")], "^parts must be finite"),
            ([0.5, 0.7, -0.2], "^parts must be >= 0, received -0.2; a spread"),
        ],
    )
    def test_parts_that_are_no_credit_of_the_response_are_refused(self, parts, said):
        with pytest.raises(ValueError, match=said):
            judge([1, 2, 3], parts)

    @pytest.mark.parametrize("name", ["steps", "random_orders"])
    def test_a_probe_without_steps_or_orders_is_refused(self, name):
        with pytest.raises(ValueError, match=f"^{name} must be at least 1, received 0"):
            probe_response(additive([1.0]), PROMPT, [2], **{name: 0})


class TestManyResponses:
    @staticmethod
    def responses() -> list[list[float]]:
        """80 responses of 3 to 40 tokens; few of them matter, effects of either sign."""
        draw = random.Random(3)
        return [
            [sign * draw.expovariate(1) ** 3 for _ in range(draw.randint(3, 40))]
            for sign in [1, -1] * 40
        ]

    def test_uniform_credit_does_as_random_orders_do_and_true_credit_does_better(self):
        uniform = summarise_faithfulness(
            [judge(parts, [1 / len(parts)] * len(parts)) for parts in self.responses()]
        )
        true = summarise_faithfulness(
            [judge(parts, [abs(part) for part in parts]) for parts in self.responses()]
        )
        for found in (uniform.deletion, uniform.insertion):
            assert found.n == 80
            assert abs(known(found.mean)) < 2 * known(found.standard_error)
        assert (uniform.correlation, uniform.without_rank) == (Estimate(None, None, 0), 80)
        assert astuple(true.correlation) == pytest.approx((1, 0, 80), abs=1e-9)
        assert true.without_rank == 0
        assert known(true.deletion.mean) > 5 * known(true.deletion.standard_error)
        assert 0.2 < known(true.deletion_share.mean) < 0.5

    def test_tokens_of_equal_credit_come_in_an_order_of_their_own(self):
        # All credit on the last of twelve tokens: the others follow in no order of place.
        parts = [*range(11), 100]
        result = judge(parts, [0.0] * 11 + [1.0], steps=12)
        others = [
            later - earlier
            for earlier, later in zip(
                result.curves.insertion[1:], result.curves.insertion[2:], strict=False
            )
        ]
        assert sorted(others) == pytest.approx(list(range(11)))
        assert others != sorted(others)
        assert result.curves.insertion[1] == 100

    def test_another_seed_is_another_order_and_the_same_seed_the_same(self):
        score, parts = additive(list(range(20))), torch.full((20,), 0.05)

        def run(seed: int) -> Faithfulness:
            probe = probe_response(score, PROMPT, list(range(2, 22)), seed=seed)
            return judge_credit(score, probe, parts, signed=False)

        assert run(0) == run(0)
        assert run(0).curves != run(1).curves
        assert run(0).random != run(1).random

    def test_the_order_of_the_responses_does_not_matter(self):
        results = [judge(parts, [abs(part) for part in parts]) for parts in self.responses()]
        forward, backward = (summarise_faithfulness(list(o)) for o in (results, results[::-1]))
        for name in ("correlation", "effect", "deletion", "insertion", "deletion_share"):
            found, again = astuple(getattr(forward, name)), astuple(getattr(backward, name))
            assert found == pytest.approx(again, rel=1e-12)
        assert forward.curves.deletion == pytest.approx(backward.curves.deletion, rel=1e-12)

    def test_means_and_standard_errors_by_hand(self):
        # deletion 1, 2: mean 1.5, s = .70711, over sqrt 2: .5. effect 1, 3: mean 2. Share .75;
        # residuals (1 - .75) / 2 = .125 and (2 - 2.25) / 2 = -.125: s = .17678, over sqrt 2: .125.
        curves = Curves((0, 1), (0, 3), 0.5, 1.5), Curves((0, 3), (0, 5), 1.5, 2.5)
        first = Faithfulness(None, 1, 0, 1, curves[0], curves[1])
        second = Faithfulness(0.4, 2, 0, 3, curves[1], curves[1])
        summary = summarise_faithfulness([first, second])
        assert summary.correlation == Estimate(0.4, None, 1)
        assert (summary.responses, summary.without_rank) == (2, 1)
        assert astuple(summary.deletion) == pytest.approx((1.5, 0.5, 2))
        assert astuple(summary.effect) == pytest.approx((2, 1, 2))
        assert astuple(summary.deletion_share) == pytest.approx((0.75, 0.125, 2))
        assert summary.insertion_share == Estimate(0, 0, 2)
        assert summary.curves == Curves((0, 2), (0, 4), 1, 2)
        assert summary.random == curves[1]

    def test_there_is_no_share_of_no_effect(self):
        summary = summarise_faithfulness([judge([0, 0], [0.3, 0.7])])
        assert summary.deletion_share == Estimate(None, None, 1)
        assert summary.deletion == Estimate(0, None, 1)

    def test_no_response_is_refused(self):
        with pytest.raises(ValueError, match=r"^results must hold at least one"):
            summarise_faithfulness([])


def test_a_reward_model_s_batches_do_not_matter(tiny_classifier):
    reward_model = RewardModel(tiny_classifier(num_labels=1))

    def padded(texts: list[list[int]]) -> torch.Tensor:
        width = max(map(len, texts))
        ids = torch.tensor([[*text, *[1] * (width - len(text))] for text in texts])
        mask = torch.arange(width) < torch.tensor([len(text) for text in texts])[:, None]
        return reward_model.score(ids, mask, with_attention=False).scores

    def one_by_one(texts: list[list[int]]) -> torch.Tensor:
        return torch.cat([padded([text]) for text in texts])

    response = torch.randint(2, 64, (14,), generator=torch.Generator().manual_seed(0)).tolist()
    credit = torch.rand(14, generator=torch.Generator().manual_seed(1))
    results = []
    for score in (padded, one_by_one):
        probe = probe_response(score, PROMPT, response, steps=5, random_orders=2)
        results.append(judge_credit(score, probe, credit / credit.sum(), signed=False))
    assert results[0].correlation == pytest.approx(results[1].correlation)
    assert results[0].effect > 0.1
    assert results[0].curves.deletion == pytest.approx(results[1].curves.deletion, abs=1e-4)
    assert results[0].insertion == pytest.approx(results[1].insertion, abs=1e-4)


def known(value: float | None) -> float:
    """Returns a number that must be there."""
    assert value is not None
    return value
