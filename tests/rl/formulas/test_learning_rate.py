"""The learning rate of each step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abcrl.config import PpoSettings
from abcrl.rl.formulas.learning_rate import learning_rate_at


def settings_of(schedule: str, steps: int, warmup: int, peak: float = 8.0) -> PpoSettings:
    return PpoSettings.model_validate({
        "steps": steps,
        "ppo": {"learning_rate": peak},
        "optimizer": {"schedule": schedule, "warmup_steps": warmup},
    })  # fmt: skip


@pytest.mark.parametrize(
    ("schedule", "warmup", "expected"),
    [
        ("constant", 0, [8, 8, 8, 8]),
        ("constant", 3, [2, 4, 6, 8]),
        ("linear", 0, [8, 6, 4, 2]),
        ("linear", 1, [4, 8, 8 * 2 / 3, 8 / 3]),
        # cos 0, pi/4, pi/2, 3 pi/4
        ("cosine", 0, [8, 4 + 2 * 2**0.5, 4, 4 - 2 * 2**0.5]),
        # a half, then cos 0, pi/3, 2 pi/3
        ("cosine", 1, [4, 8, 6, 2]),
    ],
)
def test_schedules_by_hand(schedule, warmup, expected):
    settings = settings_of(schedule, 4, warmup)
    assert [learning_rate_at(settings, step) for step in (1, 2, 3, 4)] == pytest.approx(expected)


@given(
    st.sampled_from(["constant", "linear", "cosine"]),
    st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1))),
)
def test_it_rises_to_its_peak_and_falls_and_is_never_zero(schedule, lengths):
    steps, warmup = lengths
    settings = settings_of(schedule, steps, warmup, peak=3e-4)
    rates = [learning_rate_at(settings, step) for step in range(1, steps + 1)]
    assert all(0 < rate <= 3e-4 for rate in rates)
    assert rates[warmup] == 3e-4
    assert rates[: warmup + 1] == sorted(rates[: warmup + 1])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)


def test_the_default_is_the_configured_number_to_the_bit():
    settings = PpoSettings()
    rates = {learning_rate_at(settings, step) for step in range(1, settings.steps + 1)}
    assert rates == {settings.ppo.learning_rate}
