"""What the phases of a PPO step really take, by the allocator's own account."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerBase,
)

from abcrl.config import PpoConfig, load_config
from abcrl.data import Prompt
from abcrl.densification import needs
from abcrl.rl.actors import load_actors
from abcrl.rl.memory.footprint import Footprint
from abcrl.rl.reference_kl import ReferenceKl
from abcrl.rl.rollout import collect_rollout
from abcrl.rl.sampling.sampler import SharedDraws, sample_responses
from abcrl.rl.token_statistics import evaluate_tokens
from abcrl.rl.update import Experience, PolicyUpdater, epoch_orders
from tests.rl.rollouts import calibration_of


def save_models(
    folder: Path, tokenizer: PreTrainedTokenizerBase, architecture: str, **shape: Any
) -> dict[str, str]:
    """Saves a random policy and reward model; returns the settings that name them."""
    labels = {0: "negative", 1: "positive"}
    shape = {
        "max_position_embeddings": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    } | shape
    config = AutoConfig.for_model(
        architecture,
        **shape,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=1,
        id2label=labels,
        label2id={name: index for index, name in labels.items()},
    )
    kinds: dict[str, Any] = {
        "policy": AutoModelForCausalLM,
        "reward_model": AutoModelForSequenceClassification,
    }
    for name, kind in kinds.items():
        kind.from_config(config).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return {name: str(folder / name) for name in kinds}


def run_with(models: dict[str, str], **settings: object) -> PpoConfig:
    """A run of the models; `ppo__batch_size=4` sets ppo.batch_size."""
    named = {key.replace("__", "."): value for key, value in settings.items()}
    whole = {"ppo.mini_batch_size": 16, "ppo.ppo_epochs": 1, "run.output": "x"}
    return load_config(PpoConfig, flags={**models, **whole, **named})


def estimate_phases(config: PpoConfig, device: torch.device) -> dict[str, int]:
    """Returns what `measure_phases` measures, counted."""
    footprint, algorithm = Footprint(config, device), config.ppo
    micro = algorithm.micro_batch_size or algorithm.mini_batch_size
    return {
        "generation": footprint.generation(algorithm.batch_size).peak,
        "scoring": footprint.scoring(algorithm.batch_size).peak,
        "token evaluation": footprint.token_evaluation(algorithm.batch_size).peak,
        "update": footprint.update(micro).peak,
    }


def measure_phases(config: PpoConfig, device: torch.device, folder: Path) -> dict[str, int]:
    """Returns the peak of each phase beside what is held at its start, bytes.

    The optimizer has its state already. Prompts are of all lengths, the first of the longest.
    """
    actors, _ = load_actors(config, device)
    low, high = config.prompt.min_tokens, config.prompt.max_tokens
    prompts = [
        Prompt(row, tuple(2 + (row + k) % 9 for k in range(high - row % (high - low + 1))))
        for row in range(config.ppo.batch_size)
    ]
    draws = SharedDraws(config.response, seed=0, stream="response")
    wanted = needs(config.reward.mode)
    updater = PolicyUpdater(
        actors.policy,
        Accelerator(cpu=device.type == "cpu"),
        config.ppo,
        config.response,
        eos_token_id=actors.eos_token_id,
        reference=ReferenceKl.of(actors, config),
    )
    calibration = calibration_of(actors, prompts, config)
    rollout = collect_rollout(actors, prompts, draws, config, kl_coef=0.2, calibration=calibration)
    responses, experience = rollout.responses, Experience.of(rollout)
    assert responses.response_width == config.response.cap_high
    orders = epoch_orders(seed=0, step=1, epochs=1, batch=config.ppo.batch_size)
    phases: dict[str, Callable[[], object]] = {
        "generation": lambda: sample_responses(
            actors.policy.model, prompts, draws, config.response, eos_token_id=actors.eos_token_id
        ),
        "scoring": lambda: actors.scorer.score(responses, wanted),
        "token evaluation": lambda: evaluate_tokens(
            actors, responses, config, with_attention="policy_attention" in wanted
        ),
        "update": lambda: updater.update(experience, orders),
    }
    peaks = {}
    for name, run in phases.items():
        run()  # the optimizer makes its state, a GPU its work space
        peaks[name] = _peak(run, device, folder)
    return peaks


def _peak(run: Callable[[], object], device: torch.device, folder: Path) -> int:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        held = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return torch.cuda.max_memory_allocated(device) - held
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        run()
    trace = folder / "trace.json"
    profile.export_chrome_trace(str(trace))
    events = json.loads(trace.read_text())["traceEvents"]
    changes = [event["args"] for event in events if event.get("name") == "[memory]"]
    held = changes[0]["Total Allocated"] - changes[0]["Bytes"]
    return int(max(change["Total Allocated"] for change in changes) - held)
