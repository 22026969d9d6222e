"""The zero of a reward model: the mean score of responses that stand for nothing special."""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from abcrl.config import TrainRmConfig
from abcrl.data import PromptPool, PromptSource
from abcrl.models import (
    RewardModel,
    bos_prefix,
    load_causal_lm,
    make_render,
    splice_responses,
)
from abcrl.rl.actors import require_context
from abcrl.rl.sampling.prompts import prompt_pool
from abcrl.rl.sampling.sampler import SharedDraws, sample_responses
from abcrl.rl.scoring.scorer import Scorer

from .objectives import Objective
from .rows import score_by_length

_BATCH = 64

MeasureOffset = Callable[[RewardModel], float]


def plan_offset(
    config: TrainRmConfig,
    objective: Objective,
    tokenizer: PreTrainedTokenizerBase,
    model: PreTrainedModel,
) -> MeasureOffset | None:
    """Returns what measures `head.offset` of the trained model; None where there is to be none.

    Args:
        config: Which responses, how many, how they are sampled.
        objective: Texts to train on.
        tokenizer: The reward model's.
        model: The model that is to be trained.

    Raises:
        InputError: No text gives a prompt, or prompt and response do not fit the model.
    """
    if config.head.offset == "none":
        return None
    if config.head.offset == "chosen":
        rows = objective.good_rows(config.head.offset_samples)
        return lambda reward_model: float(score_by_length(reward_model, rows).double().mean())
    longest = len(bos_prefix(tokenizer)) + config.prompt.max_tokens + config.response.cap_high
    require_context(model, "model", longest)
    pool = prompt_pool(objective.examples, tokenizer, config.prompt, config.data.template)
    return partial(_mean_of_sft_responses, config=config, tokenizer=tokenizer, pool=pool)


def _mean_of_sft_responses(
    reward_model: RewardModel,
    *,
    config: TrainRmConfig,
    tokenizer: PreTrainedTokenizerBase,
    pool: PromptPool,
) -> float:
    """Returns the mean score of the SFT model's responses; data and models alone decide it."""
    device = reward_model.model.device
    sft, _ = load_causal_lm(config.model, "model")
    nn.Module.to(sft.eval(), device)
    read = None
    if config.template is not None:
        render = make_render(config.template, tokenizer, "template")
        read = partial(splice_responses, tokenizer, tokenizer, render=render)
    scorer = Scorer(reward_model, read)
    prompts = PromptSource(pool, seed=config.data.seed, stream="offset-prompts")
    draws = SharedDraws(config.response, seed=config.data.seed, stream="offset")
    total = config.head.offset_samples
    scores = []
    for start in range(0, total, _BATCH):
        responses = sample_responses(
            sft,
            prompts.take(start, min(_BATCH, total - start)),
            draws,
            config.response,
            eos_token_id=tokenizer.eos_token_id,
        )
        scores.append(scorer.score(responses).scores.cpu().double())
    return float(torch.cat(scores).mean())
