import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abcrl.analysis.endpoints import (
    auc,
    first_step_at,
    has_collapsed,
    restricted_arrival,
    score_at_kl,
)


class TestAuc:
    def test_is_the_area_over_the_range(self):
        # Trapezoids 10 * (0 + 1) / 2 = 5 and 30 * (1 + 3) / 2 = 60; 65 / 40 = 1.625.
        assert auc([0, 10, 40], [0.0, 1.0, 3.0]) == 1.625

    def test_of_a_constant_is_the_constant(self):
        assert auc([5, 6, 20], [2.5, 2.5, 2.5]) == 2.5

    def test_of_one_evaluation_is_that_evaluation(self):
        assert auc([0], [0.7]) == 0.7

    def test_agrees_with_numpy(self):
        steps, values = [0, 3, 4, 9, 20], [0.3, -1.0, 2.0, 0.5, 0.1]
        assert auc(steps, values) == pytest.approx(np.trapezoid(values, steps) / 20)

    @pytest.mark.parametrize(
        ("steps", "values"),
        [
            ([], []),
            ([0, 1], [1.0]),
            ([0, 0], [1.0, 2.0]),
            ([2, 1], [1.0, 2.0]),
            ([0, 1], [1.0, math.nan]),
        ],
    )
    def test_refuses_what_has_no_area(self, steps, values):
        with pytest.raises(ValueError, match="received"):
            auc(steps, values)


class TestScoreAtKl:
    def test_lies_on_the_line_between_two_evaluations(self):
        # From (2, 1) to (6, 2): at a KL of 3 a quarter of the way.
        assert score_at_kl([0, 2, 6], [0.0, 1.0, 2.0], 3.0) == 1.25

    def test_of_a_path_that_comes_back_is_the_first_time(self):
        assert score_at_kl([0, 4, 1, 4], [0.0, 2.0, 3.0, 6.0], 2.0) == 1.0

    def test_at_an_evaluation_is_its_score(self):
        assert score_at_kl([0, 2, 4], [0.0, 1.5, 2.0], 2.0) == 1.5

    def test_is_unknown_where_the_path_does_not_reach(self):
        assert score_at_kl([0, 1, 2], [0.0, 1.0, 2.0], 2.1) is None
        assert score_at_kl([], [], 1.0) is None

    def test_of_the_start_is_the_start(self):
        assert score_at_kl([0.0, 1.0], [0.3, 1.0], 0.0) == 0.3

    def test_what_was_not_evaluated_is_passed_over(self):
        assert score_at_kl([0, math.nan, 4], [0.0, 9.0, 2.0], 2.0) == 1.0

    @given(st.lists(st.tuples(st.floats(0, 50), st.floats(-5, 5)), min_size=2), st.floats(0, 50))
    def test_never_leaves_the_range_of_the_scores(self, points, level):
        kls, scores = zip(*points, strict=True)
        found = score_at_kl(kls, scores, level)
        assert (found is None) == (max(kls) < level)
        if found is not None:
            assert min(scores) - 1e-9 <= found <= max(scores) + 1e-9

    def test_refuses_points_without_both(self):
        with pytest.raises(ValueError, match="received 2 and 1"):
            score_at_kl([0, 1], [0.0], 0.5)


class TestArrival:
    def test_lies_between_the_evaluations(self):
        # From 1 at step 10 to 3 at step 20; 2.5 after three quarters.
        assert first_step_at([0, 10, 20], [0.0, 1.0, 3.0], 2.5) == 17.5

    def test_a_run_that_never_arrives_counts_with_the_horizon(self):
        late = restricted_arrival([0, 10, 20], [0.0, 1.0, 1.2], 2.0, horizon=20)
        assert (late.steps, late.censored) == (20.0, True)
        early = restricted_arrival([0, 10, 20], [0.0, 4.0, 4.0], 2.0, horizon=20)
        assert (early.steps, early.censored) == (5.0, False)

    def test_what_comes_after_the_horizon_is_not_known(self):
        one = restricted_arrival([0, 10, 20], [0.0, 0.0, 4.0], 2.0, horizon=12)
        assert (one.steps, one.censored) == (12.0, True)

    def test_a_run_that_begins_there_needs_no_step(self):
        assert first_step_at([0, 10], [2.0, 1.0], 1.5) == 0.0


class TestCollapse:
    # The last three of 1.0, 0.2, 0.0, -0.1 have the mean 0.0333.
    scores = (0.5, 1.0, 0.2, 0.0, -0.1)

    @pytest.mark.parametrize(
        ("sft", "error", "collapsed"),
        [(0.5, 0.2, True), (0.5, 0.25, False), (0.04, None, True), (0.03, None, False)],
    )
    def test_is_below_the_sft_model_by_two_standard_errors(self, sft, error, collapsed):
        assert has_collapsed(self.scores, sft, error) is collapsed

    def test_one_bad_evaluation_is_none(self):
        assert not has_collapsed((0.5, 1.0, 1.2, -0.4), 0.5, 0.05)

    def test_short_runs_are_judged_by_what_there_is(self):
        assert has_collapsed((0.5, 0.0), 0.5, 0.1)
        assert not has_collapsed((0.5,), 0.5, 0.1)
