"""What a step is said to take, against what the allocator says that it takes."""

import resource
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig

from abcrl.config import InputError
from abcrl.rl.actors import load_actors
from abcrl.rl.memory.footprint import Footprint
from abcrl.rl.memory.live import bytes_of, tensors_of
from tests.rl.memory.measured_memory import estimate_phases, measure_phases, run_with, save_models

CPU = torch.device("cpu")
GPT2: dict[str, Any] = {"hidden_size": 128, "vocab_size": 1000}
LLAMA: dict[str, Any] = {**GPT2, "intermediate_size": 384, "num_key_value_heads": 2}
LONG = {"response__cap_low": 60, "response__cap_high": 60, "response__min_new_tokens": 60}
SEPARATE = {"networks__value_model": "separate"}
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "llama": ("llama", LLAMA, LONG),
    "micro-batches": ("gpt2", GPT2, {"ppo__micro_batch_size": 4}),
    "separate value model": ("llama", LLAMA, SEPARATE),
    "lora in bf16": ("gpt2", GPT2, {**LONG, "networks__lora": {}, "networks__precision": "bf16"}),
    "large vocabulary": (
        "llama",
        {**LLAMA, "vocab_size": 50_000},
        {"ppo__batch_size": 4, "ppo__mini_batch_size": 2},
    ),
}
SLOW_CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "wide": ("gpt2", {**GPT2, "hidden_size": 512}, LONG),
    "qwen3": ("qwen3", {**LLAMA, "head_dim": 32}, {}),
    # Without fast kernels: whole maps of attention.
    "gptj": ("gptj", {**GPT2, "rotary_dim": 8}, LONG),
    "mini-batch 1": ("gpt2", GPT2, {"ppo__batch_size": 4, "ppo__mini_batch_size": 1}),
    "value model from policy": ("gpt2", GPT2, {**SEPARATE, "networks__value_init": "policy"}),
    "lora": ("llama", LLAMA, {**LONG, "networks__lora": {}}),
    "checkpointing": ("llama", LLAMA, {**LONG, "networks__gradient_checkpointing": True}),
    "bf16": ("llama", LLAMA, {**LONG, "networks__precision": "bf16"}),
    "exact KL": ("gpt2", GPT2, {**LONG, "kl__loss": "exact"}),
    "abc-d": ("llama", LLAMA, {**LONG, "reward__mode": "abc-d"}),
    "red": ("gpt2", GPT2, {"reward__mode": "red"}),
}


@pytest.fixture
def run(tmp_path, tiny_tokenizer):
    """run(architecture, shape, **settings): a run of models of that shape."""

    def make(architecture: str, shape: dict[str, Any], **settings: Any) -> Any:
        models = save_models(tmp_path, tiny_tokenizer, architecture, **shape)
        return run_with(models, **settings)

    return make


@pytest.mark.parametrize(
    "case", [*CASES, *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW_CASES)]
)
def test_every_phase_takes_what_is_counted(tmp_path, monkeypatch, run, case):
    # The CPU computes in bfloat16, only slowly: a run is refused.
    monkeypatch.setattr("abcrl.rl.actors.require_bf16", lambda *_: None)
    architecture, shape, settings = {**CASES, **SLOW_CASES}[case]
    config = run(architecture, shape, **settings)
    measured = measure_phases(config, CPU, tmp_path)
    for name, estimate in estimate_phases(config, CPU).items():
        assert estimate == pytest.approx(measured[name], rel=0.1), name


@pytest.mark.parametrize("value_model", ["shared", "separate"])
def test_weights_gradients_and_optimizer_are_those_of_the_networks(run, value_model):
    config = run("gpt2", GPT2, networks__value_model=value_model)
    holdings = Footprint(config, CPU).holdings()
    actors, _ = load_actors(config, CPU)
    networks: dict[str, list[nn.Module]] = {
        "policy": [actors.policy.model, actors.policy.value_head],
        "reward_model": [actors.scorer.reward_model.model],
    }
    assert actors.ref_policy is not None
    networks["ref_policy"] = [actors.ref_policy]
    if actors.policy.value_trunk is not None:
        head = networks["policy"].pop()
        networks["value_model"] = [actors.policy.value_trunk, head]
    assert holdings.keys() == networks.keys()
    for role, parts in networks.items():
        assert holdings[role].weights == bytes_of(tensors_of(parts))
        trained = bytes_of([one for one in tensors_of(parts) if one.requires_grad])
        assert holdings[role].gradients == trained
        # Two moments, and a count of steps for each tensor.
        assert holdings[role].optimizer == pytest.approx(2 * trained, rel=0.001)


def test_adapters_alone_are_trained_and_need_no_reference(run):
    holdings = Footprint(run("llama", LLAMA, networks__lora={"rank": 2}), CPU).holdings()
    assert "ref_policy" not in holdings
    assert 0 < holdings["policy"].gradients < holdings["policy"].weights / 10


def test_the_cache_holds_keys_and_values_of_every_layer(run):
    footprint = Footprint(run("llama", LLAMA, **LONG), CPU)
    # 2 layers x keys and values x 2 heads x 32 numbers x 4 bytes, with room for every token.
    assert footprint.generation(3).kept == 3 * (7 + 60) * 2 * 2 * 2 * 32 * 4


def test_no_memory_is_taken(tmp_path):
    """A policy of 2.7 GB, and two networks like it, of which there is nothing but config.json."""
    shape = {"hidden_size": 4096, "intermediate_size": 11_008, "num_hidden_layers": 2}
    config = AutoConfig.for_model("llama", **shape, num_labels=1)
    config.save_pretrained(tmp_path)
    models = {"policy": str(tmp_path), "reward_model": str(tmp_path)}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    footprint = Footprint(run_with(models), CPU)
    assert footprint.holdings()["policy"].weights > 2.6e9
    assert footprint.update(512).peak > 1e10
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200 * 1024  # KiB


def test_a_context_that_is_too_short_is_refused(run):
    config = run("gpt2", {**GPT2, "max_position_embeddings": 16})
    with pytest.raises(InputError, match=r"response\.cap_high: prompt and response must fit"):
        Footprint(config, CPU)
