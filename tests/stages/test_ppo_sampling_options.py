"""A policy's own generation options never enter PPO: what is sampled from is what is scored."""

import inspect
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import GenerationConfig, GPT2LMHeadModel
from transformers.generation.utils import GenerationMixin

from abcrl.reporter import SilentReporter
from abcrl.rl.sampling.sampler import InverseCdfProcessor
from abcrl.stages.ppo import run_ppo
from tests.stages.resuming import assert_same_end

SAMPLED: dict[str, Any] = {
    "do_sample": True,
    "temperature": 0.3,
    "top_k": 2,
    "top_p": 0.5,
    "top_h": 0.3,
    "min_p": 0.2,
    "typical_p": 0.5,
    "epsilon_cutoff": 0.1,
    "eta_cutoff": 0.1,
}
PROCESSED: dict[str, Any] = {
    "repetition_penalty": 3.0,
    "encoder_repetition_penalty": 3.0,
    "no_repeat_ngram_size": 1,
    "encoder_no_repeat_ngram_size": 1,
    "bad_words_ids": [[5], [17]],
    "sequence_bias": [[[9], 20.0]],
    "min_length": 30,
    "min_new_tokens": 12,
    "forced_bos_token_id": 7,
    "forced_eos_token_id": 7,
    "exponential_decay_length_penalty": [2, 3.0],
    "suppress_tokens": [11, 12],
    "begin_suppress_tokens": [13],
    "guidance_scale": 2.0,
    "watermarking_config": {"bias": 9.0},
    "remove_invalid_values": True,
    "renormalize_logits": True,
}
ENDING: dict[str, Any] = {
    "eos_token_id": [5, 6, 7],
    "pad_token_id": 9,
    "max_length": 4,
    "max_new_tokens": 2,
    "max_time": 1e-6,
    "stop_strings": ["a"],
    "num_beams": 3,
    "num_return_sequences": 2,
    "use_cache": False,
}
# What the function that chooses the processors asks beside their options.
NO_OPTIONS = {"use_cache", "num_beams", "max_length"}


def test_every_option_that_changes_logits_is_tried():
    read = inspect.getsource(GenerationMixin._get_logits_processor)
    names = set(re.findall(r"generation_config\.([a-z]\w*)", read))
    assert names - NO_OPTIONS == {*SAMPLED, *PROCESSED}
    assert {*SAMPLED, *PROCESSED, *ENDING} <= vars(GenerationConfig()).keys()


@pytest.fixture
def with_options(tiny_runs, tmp_path) -> Callable[..., Path]:
    """with_options(**options): the SFT model, asking for them in its generation_config.json."""

    def save(**options: object) -> Path:
        folder = Path(shutil.copytree(tiny_runs.policy, tmp_path / "policy"))
        file = folder / "generation_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **options}))
        return folder

    return save


@pytest.mark.parametrize(
    "options", [SAMPLED, PROCESSED, ENDING], ids=["sampled", "processed", "ending"]
)
def test_a_policys_own_options_change_no_byte(
    tiny_runs, tiny_ppo_runs, tmp_path, with_options, monkeypatch, options
):
    processors: list[list[type]] = []
    original = GPT2LMHeadModel._get_logits_processor

    def watching(model: Any, *args: Any, **kwargs: Any) -> Any:
        chosen = original(model, *args, **kwargs)
        processors.append([type(each) for each in chosen])
        return chosen

    monkeypatch.setattr(GPT2LMHeadModel, "_get_logits_processor", watching)
    config = tiny_runs.ppo(tmp_path / "run", policy=str(with_options(**options)))
    run_ppo(config, SilentReporter())
    assert processors
    assert all(chosen == [InverseCdfProcessor] for chosen in processors)
    assert_same_end(tmp_path / "run", tiny_ppo_runs["abc"])
