"""The learning rate of each PPO step: a function of the step, so a resumed run needs no state."""

import math

from abcrl.config import PpoSettings


def learning_rate_at(settings: PpoSettings, step: int) -> float:
    """Returns the learning rate of one PPO step.

    With w warm-up steps out of n, at step s = 1 .. n:
    s <= w: peak * s / (w + 1)
    s > w, with d = (s - 1 - w) / (n - w), from 0 to just below 1:
    constant: peak; linear: peak * (1 - d); cosine: peak * (1 + cos(pi * d)) / 2

    transformers' schedules, moved by one step, so that no step has a learning rate of 0.

    Args:
        settings: Peak, schedule, warm-up and number of steps.
        step: 1 .. settings.steps.
    """
    peak, warmup = settings.ppo.learning_rate, settings.optimizer.warmup_steps
    if step <= warmup:
        return peak * step / (warmup + 1)
    done = (step - 1 - warmup) / (settings.steps - warmup)
    match settings.optimizer.schedule:
        case "constant":
            return peak
        case "linear":
            return peak * (1 - done)
        case "cosine":
            return peak * (1 + math.cos(math.pi * done)) / 2
