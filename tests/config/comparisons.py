"""Comparisons of a line, and what is refused of them."""

import pytest

from abcrl.config import CompareConfig, InputError, load_config

TWO = "arms=[{name: abc, reward: {mode: abc}}, {name: rlhf, reward: {mode: rlhf}}]"
THREE = TWO[:-1] + ", {name: rlhf-lambda1, reward: {mode: rlhf}, gae_lambda: 1.0}]"


def compare(*assignments: str) -> CompareConfig:
    return load_config(CompareConfig, assignments=assignments)


def declared(config: CompareConfig) -> list[tuple[str, str]]:
    return [(one.arm, one.baseline) for one in config.declared_contrasts]


def refusal(*assignments: str) -> str:
    with pytest.raises(InputError) as caught:
        compare(*assignments)
    [line] = str(caught.value).splitlines()
    return line
