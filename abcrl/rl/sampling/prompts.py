"""From a source's rows to prompts, in the policy's tokens."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from transformers import PreTrainedTokenizerBase

from abcrl.config import InputError, PromptConfig
from abcrl.data import (
    Example,
    GivenPrompts,
    Prompt,
    PromptPool,
    PromptSource,
    TextBeginnings,
    require_two_heldout,
)
from abcrl.dialogue import PromptText
from abcrl.models import PromptWriter, bos_prefix, encode_batch


def prompt_pool(
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    config: PromptConfig,
    template: str | None = None,
) -> PromptPool:
    """Returns the prompts that examples give, or the texts whose beginnings are prompts.

    Args:
        examples: Of one format.
        tokenizer: The policy's.
        config: Which prompts, and how long.
        template: `data.template`.

    Raises:
        InputError: No example gives a prompt, or there is a template and nothing to put into it.
    """
    if examples and examples[0].prompt is not None:
        return GivenPrompts(examples, PromptWriter(tokenizer, template).prompts, config)
    if template is not None:
        raise unused_template(template)
    encode, prefix = partial(encode_batch, tokenizer), tuple(bos_prefix(tokenizer))
    return TextBeginnings(examples, encode, config, prefix=prefix)


def prompts_of(examples: Sequence[Example]) -> Iterator[PromptText]:
    """Yields the prompts that examples have."""
    return (example.prompt for example in examples if example.prompt is not None)


def unused_template(template: str) -> InputError:
    """Returns the refusal of a `data.template` where there is no prompt to put into it."""
    return InputError(
        f"data.template: must be left out where rows are plain texts, which have no prompt, "
        f"received {template!r}; remove it, or name the column of the prompts in data.columns"
    )


def heldout_pool(
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    config: PromptConfig,
    template: str | None = None,
) -> PromptPool:
    """Returns `prompt_pool` of held-out texts.

    Raises:
        InputError: Fewer than two of them give a prompt.
    """
    pool = prompt_pool(examples, tokenizer, config, template)
    require_two_heldout(len(pool))
    return pool


def heldout_prompts(pool: PromptPool, count: int, *, seed: int) -> list[Prompt]:
    """Returns held-out prompts: the same for all that evaluate on one division of the texts.

    Args:
        pool: The held-out texts.
        count: Prompts that are wanted. No text gives two: the standard errors are those of
            independent prompts.
        seed: `data.seed`.
    """
    source = PromptSource(pool, seed=seed, stream="validation-prompts")
    return source.take(0, min(count, len(pool)))


def tell_left_out(
    tell: Callable[[str], None], pools: Sequence[PromptPool], config: PromptConfig
) -> None:
    """Tells how many given prompts are too long to be answered, or nothing."""
    left_out = sum(pool.left_out for pool in pools if isinstance(pool, GivenPrompts))
    if left_out:
        tell(
            f"data: {left_out} prompts left out, as they have no tokens or more than "
            f"{config.max_tokens} (prompt.max_tokens)"
        )


def require_batch(pool: PromptPool, config: PromptConfig, batch_size: int) -> None:
    """Refuses given prompts of which so few are left that one batch would repeat them.

    Args:
        pool: Prompts to train on.
        config: `max_tokens` is what leaves them out.
        batch_size: `ppo.batch_size`.

    Raises:
        InputError: Fewer than a batch are left.
    """
    if isinstance(pool, GivenPrompts) and len(pool) < batch_size:
        raise InputError(
            f"prompt.max_tokens: must leave at least ppo.batch_size ({batch_size}) prompts to "
            f"train on, received {config.max_tokens}, which leaves {len(pool)} of "
            f"{len(pool) + pool.left_out}; raise it, or give more prompts"
        )


def too_few_prompts(pool: PromptPool, count: int, config: PromptConfig) -> str | None:
    """Returns what to tell where held-out texts give fewer prompts than are wanted."""
    if len(pool) >= count:
        return None
    reason = f"have at most {config.max_tokens} tokens (prompt.max_tokens)"
    if isinstance(pool, TextBeginnings):
        reason = f"have over {config.min_characters} characters (prompt.min_characters)"
    return (
        f"evaluation: {len(pool)} held-out prompts instead of {count}: no more held-out texts "
        f"{reason}"
    )
