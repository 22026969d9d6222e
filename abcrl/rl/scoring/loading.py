"""The reward model of a run, loaded and ready to read a policy's responses."""

from functools import partial

import torch
from transformers import PreTrainedTokenizerBase

from abcrl.config import InputError
from abcrl.config.reward import EvidenceConfig, ReadingConfig
from abcrl.config.template import CHAT_TEMPLATE
from abcrl.models import (
    RewardModel,
    compute_gelu_in_place,
    disable_dropout,
    embedding_rows,
    load_reward_model,
    make_render,
    read_responses,
    shares_ids,
    splice_responses,
    unshared_ids,
)

from .scorer import Scorer, UnreadableIds


def load_scorer(
    reference: str,
    tokenizer: PreTrainedTokenizerBase,
    evidence: EvidenceConfig,
    reading: ReadingConfig,
    *,
    policy_template: str | None,
) -> Scorer:
    """Returns the reward model, without dropout, and how it reads responses of a policy.

    Without a template of its own it reads what the policy reads: its ids or, with another
    tokenizer, the same text.

    Args:
        reference: Local folder or Hub id of the reward model.
        tokenizer: The policy's.
        evidence: Which layer and heads are looked at.
        reading: What the reward model reads, and which of its labels is positive.
        policy_template: `data.template`, in which the policy reads a prompt.

    Raises:
        InputError: It cannot be loaded, or not be used with that tokenizer.
    """
    reward_model, own_tokenizer = load_reward_model(
        reference,
        "reward_model",
        positive_label=reading.positive_label,
        layer=evidence.layer,
        heads=evidence.heads,
    )
    disable_dropout(reward_model.model)
    compute_gelu_in_place(reward_model.model)
    tokenizers = (tokenizer, own_tokenizer)
    if shares_ids(*tokenizers):
        unreadable = _unreadable(reward_model, *tokenizers)
        if reading.template is None:
            return Scorer(reward_model, unreadable=unreadable)
        render = make_render(reading.template, own_tokenizer)
        read = partial(splice_responses, *tokenizers, render=render)
        return Scorer(reward_model, read, unreadable, render)
    largest = max(own_tokenizer.get_vocab().values())
    if embedding_rows(reward_model.model) <= largest:
        raise InputError(
            f"reward_model: must read every id of its own tokenizer, received "
            f"{embedding_rows(reward_model.model)} embeddings for ids up to {largest}; save the "
            f"tokenizer it was trained with beside it"
        )
    render = make_render(_template_of_text(reading.template, policy_template), own_tokenizer)
    read = partial(read_responses, *tokenizers, render=render)
    return Scorer(reward_model, read, render=render)


def _template_of_text(own: str | None, policys: str | None) -> str | None:
    """Returns the template of what a reward model with another tokenizer reads.

    Raises:
        InputError: The policy's is written in special tokens, which mean nothing to another.
    """
    if own is None and policys == CHAT_TEMPLATE:
        raise InputError(
            "score.template: must be given where data.template is chat and the reward model has "
            "another tokenizer than the policy, received null; choose chat (the chat template of "
            "its own tokenizer), or a text with {prompt} and {response}"
        )
    return policys if own is None else own


def _unreadable(
    reward_model: RewardModel,
    tokenizer: PreTrainedTokenizerBase,
    own_tokenizer: PreTrainedTokenizerBase,
) -> UnreadableIds:
    substitute = own_tokenizer.unk_token_id
    if substitute is None:
        substitute = own_tokenizer.eos_token_id
    ids = torch.tensor(unshared_ids(tokenizer, own_tokenizer), dtype=torch.long)
    return UnreadableIds(ids, embedding_rows(reward_model.model), substitute)
