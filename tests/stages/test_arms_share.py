"""Arms of one seed differ in their reward alone: what they are given is the same to the bit."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from abcrl.data import Prompt
from abcrl.reporter import SilentReporter
from abcrl.rl.rollout import collect_rollout
from abcrl.rl.update import PolicyUpdater
from abcrl.stages.ppo import run_ppo
from abcrl.storage import read_rows

ARMS: dict[str, dict[str, Any]] = {
    "abc": {"mode": "abc"},
    "abc-d": {"mode": "abc-d"},
    "random": {"mode": "random"},
    "lambda 1": {"mode": "rlhf", "ppo__gae_lambda": 1.0},
}
NETWORKS: dict[str, dict[str, Any]] = {
    "shared": {},
    "LoRA": {"networks__lora": {"rank": 2}},
    "separate": {"networks__value_model": "separate", "networks__value_init": "policy"},
}


@dataclass
class Given:
    """What a run was given: its first weights, and of every step what was drawn."""

    weights: dict[str, Tensor] = field(default_factory=dict)
    prompts: list[list[Prompt]] = field(default_factory=list)
    draws: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    responses: list[Tensor] = field(default_factory=list)
    orders: list[list[list[int]]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)

    def the_same_as(self, other: "Given") -> bool:
        """Whether all of it is equal, the responses of the first step among it."""
        draws = zip(self.draws, other.draws, strict=True)
        return (
            self.weights.keys() == other.weights.keys()
            and all(torch.equal(each, other.weights[name]) for name, each in self.weights.items())
            and self.prompts == other.prompts
            and all(torch.equal(*pair) for one in draws for pair in zip(*one, strict=True))
            and torch.equal(self.responses[0], other.responses[0])
            and self.orders == other.orders
        )


@pytest.fixture
def run(tiny_runs, tmp_path, monkeypatch) -> Callable[..., Given]:
    """run(name, **changes): what a run of two steps was given."""
    given = Given()
    update = PolicyUpdater.update

    def collecting(actors: Any, prompts: Any, draws: Any, *rest: Any, **options: Any) -> Any:
        if not given.weights:
            parameters = actors.policy.named_parameters()
            given.weights.update((name, each.detach().clone()) for name, each in parameters)
        given.prompts.append(list(prompts))
        given.draws.append(draws.draw(prompts))
        rollout = collect_rollout(actors, prompts, draws, *rest, **options)
        given.responses.append(rollout.responses.sequences.clone())
        return rollout

    def updating(updater: Any, experience: Any, orders: Any, **options: Any) -> Any:
        given.orders.append([order.tolist() for order in orders])
        return update(updater, experience, orders, **options)

    monkeypatch.setattr("abcrl.stages.ppo_training.collect_rollout", collecting)
    monkeypatch.setattr(PolicyUpdater, "update", updating)

    def started(name: str, **changes: Any) -> Given:
        nonlocal given
        given = Given()
        run_ppo(tiny_runs.ppo(tmp_path / name, steps=2, **changes), SilentReporter())
        given.samples = read_rows(tmp_path / name, "samples")
        return given

    return started


@pytest.mark.parametrize(
    ("networks", "arms"), [("shared", [*ARMS]), ("LoRA", ["abc-d"]), ("separate", ["abc"])]
)
def test_arms_share_weights_prompts_order_and_random_numbers(run, networks, arms):
    sparse = run("sparse", mode="rlhf", **NETWORKS[networks])
    assert len(sparse.prompts) == len(sparse.orders) == 2
    assert len({prompt.index for step in sparse.prompts for prompt in step}) == 8
    assert "value_head.weight" in sparse.weights
    assert any("lora_A" in name for name in sparse.weights) == (networks == "LoRA")

    for name in arms:
        dense = run(name, **ARMS[name], **NETWORKS[networks])
        assert dense.the_same_as(sparse), name
        for ours, theirs in zip(dense.samples[:2], sparse.samples[:2], strict=True):
            for key in ("prompt_index", "prompt_ids", "response_ids", "score"):
                assert ours[key] == theirs[key]


def test_another_seed_is_given_something_else(run):
    first = run("first", **NETWORKS["LoRA"])
    second = run("second", run__seed=1, **NETWORKS["LoRA"])
    assert not first.the_same_as(second)
    assert first.prompts != second.prompts
    assert first.orders != second.orders
    for name, tensor in first.weights.items():
        drawn = name.startswith("value_head.") or "lora_A" in name
        assert torch.equal(tensor, second.weights[name]) == (not drawn), name
    # The held-out prompts belong to the data; what is drawn for them does not.
    assert first.samples[0]["prompt_ids"] == second.samples[0]["prompt_ids"]
    assert first.samples[0]["response_ids"] != second.samples[0]["response_ids"]
