"""The smallest difference that so many pairs would have found in 80 of 100 cases."""

import numpy as np
import pytest
from scipy import stats

from abcrl.analysis.statistics import (
    detectable_effect,
    sign_flip_p,
)


class TestDetectableEffect:
    def test_by_hand(self):
        # 15 pairs, 14 of +-1 and a 0: s = 1, so the standard error is 1 / sqrt(15) = .25820.
        # t_{.975, 14} = 2.14479 and t_{.8, 14} = .86805: 3.01284 * .25820 = .77791.
        unit = [1.0, -1.0] * 7 + [0.0]
        assert detectable_effect(unit) == pytest.approx(0.77791, abs=1e-4)
        # Four contrasts: t_{1 - .05 / 8, 14} = t_{.99375, 14} = 2.86424: 3.73229 * .25820.
        assert detectable_effect(unit, contrasts=4) == pytest.approx(0.96367, abs=1e-3)

    def test_where_all_signs_must_agree_it_is_that_they_do_in_80_percent(self):
        # d = 1..6: s = sqrt(3.5) = 1.87083. One contrast takes all six signs: Phi(x)^6 = .8 at
        # x = 1.79316, where Student's formula has 3.49012 / sqrt(6) = 1.42484.
        assert detectable_effect([1, 2, 3, 4, 5, 6]) == pytest.approx(1.79316 * 1.87083, abs=1e-3)

    def test_is_none_where_no_difference_could_be_found(self):
        assert detectable_effect([1, 2, 3, 4, 5, 6], contrasts=2) is None

    @pytest.mark.parametrize(
        ("pairs", "contrasts", "k"), [(7, 1, 3), (8, 1, 6), (8, 3, 2), (10, 1, 25)]
    )
    def test_has_the_power_of_the_sign_flip_test(self, pairs, contrasts, k):
        unit = np.linspace(-1, 1, pairs)
        effect = detectable_effect((unit / unit.std(ddof=1)).tolist(), contrasts=contrasts)
        assert effect is not None
        samples = np.random.default_rng(2).normal(effect, 1.0, size=(2000, pairs)).tolist()
        found = sum(sign_flip_p(one) <= k * 2.0 ** (1 - pairs) for one in samples)
        # 1 % either way for the simulated quantile.
        assert stats.binom.ppf(1e-5, 2000, 0.79) <= found <= stats.binom.isf(1e-5, 2000, 0.81)

    def test_is_proportional_to_the_spread(self):
        d = [1.0, 2.0, 4.0, 7.0, 1.0, 3.0, 2.0]
        once = detectable_effect(d)
        assert once is not None
        assert detectable_effect([10 * x + 5 for x in d]) == pytest.approx(10 * once)
