"""The networks of a run as they are loaded, and what is refused before anything is written."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from abcrl.config import InputError
from abcrl.config.networks import NetworksConfig
from abcrl.models import embedding_rows
from abcrl.rl.actors import build_policy, load_actors
from abcrl.rl.scoring.scorer import UnreadableIds

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "networks",
    [
        {},
        {"networks__lora": {"rank": 2}},
        {"networks__value_model": "separate"},
        {"networks__lora": {"rank": 2}, "networks__value_model": "separate"},
        {"networks__gradient_checkpointing": True},
    ],
)
def test_networks_are_loaded_in_eval_mode_without_dropout_and_frozen_but_for_the_policy(
    tiny_runs: Any, tmp_path: Path, networks
):
    actors, _ = load_actors(tiny_runs.ppo(tmp_path / "run", **networks), CPU)
    assert (actors.ref_policy is None) == ("networks__lora" in networks)
    frozen = [actors.scorer.reward_model.model]
    if actors.ref_policy is not None:
        frozen.append(actors.ref_policy)
    for network in (actors.policy, *frozen):
        for module in network.modules():
            assert not module.training
            assert getattr(module, "p", 0.0) == 0.0
    for network in frozen:
        assert not any(parameter.requires_grad for parameter in network.parameters())
    assert any(parameter.requires_grad for parameter in actors.policy.parameters())
    with actors.reference() as reference:
        assert reference is (actors.ref_policy or actors.policy.model)


def test_the_policy_starts_alike_whatever_its_value_function_is(tiny_runs: Any, tmp_path: Path):
    shared, _ = load_actors(tiny_runs.ppo(tmp_path / "run"), CPU)
    options = {"networks__value_model": "separate", "networks__value_init": "policy"}
    separate, _ = load_actors(tiny_runs.ppo(tmp_path / "run", **options), CPU)
    ours, theirs = separate.policy.state_dict(), shared.policy.state_dict()
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor)
    trunk = separate.policy.value_trunk
    assert trunk is not None
    for name, tensor in trunk.state_dict().items():
        assert torch.equal(tensor, theirs[f"model.transformer.{name}"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"networks__precision": "bf16"}, "networks.precision: must be float32 on this device"),
        (
            {"networks__lora": {"target_modules": ["q_proj"]}},
            "networks.lora.target_modules: must name linear layers of the model (c_attn, c_proj, "
            "c_fc), received 'q_proj'",
        ),
        (
            {"networks__value_model": "separate", "score__template": "{prompt} {response}"},
            "networks.value_init: must be policy where the reward model has another tokenizer",
        ),
        (
            {"response__cap_low": 90, "response__cap_high": 95},
            "response.cap_high: prompt and response must fit the context of policy, 96 tokens",
        ),
    ],
)
def test_what_the_networks_cannot_do_is_refused(tiny_runs: Any, tmp_path: Path, changes, said):
    with pytest.raises(InputError) as caught:
        load_actors(tiny_runs.ppo(tmp_path / "run", **changes), CPU)
    assert str(caught.value).startswith(said)
    assert len(str(caught.value).splitlines()) == 1


def test_an_architecture_without_gradient_checkpointing_is_refused_by_name(
    tiny_runs: Any, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr("transformers.GPT2LMHeadModel.supports_gradient_checkpointing", False)
    with pytest.raises(InputError, match=r"networks\.gradient_checkpointing: .* 'gpt2'"):
        load_actors(tiny_runs.ppo(tmp_path / "run", networks__gradient_checkpointing=True), CPU)


def test_a_value_model_reads_ids_that_the_reward_model_has_no_embedding_of(
    tiny_runs: Any, tmp_path: Path
):
    config = tiny_runs.ppo(tmp_path / "run")
    loaded, _ = load_actors(config, CPU)
    rows = embedding_rows(loaded.scorer.reward_model.model)
    unreadable = UnreadableIds(torch.tensor([rows + 2]), rows, substitute=3)
    scorer = replace(loaded.scorer, unreadable=unreadable)
    model = loaded.policy.model
    model.resize_token_embeddings(rows + 5, mean_resizing=False)
    separate = config.model_copy(update={"networks": NetworksConfig(value_model="separate")})
    policy = build_policy(separate, model, scorer).eval()

    def values(*ids: int) -> torch.Tensor:
        written = torch.tensor([[1, *ids]])
        found: torch.Tensor = policy(written, written > 0, 3).values
        return found

    assert torch.equal(values(rows + 2, 5, 6), values(3, 5, 6))
    assert not torch.equal(values(7, 5, 6), values(3, 5, 6))
