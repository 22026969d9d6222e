"""From texts to prompts, in the policy's tokens."""

from collections.abc import Sequence
from functools import partial

from transformers import PreTrainedTokenizerBase

from abcrl.config import PromptConfig
from abcrl.data import Example, Prompt, PromptPool, PromptSource, require_two_heldout
from abcrl.models import bos_prefix, encode_batch


def prompt_pool(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, config: PromptConfig
) -> PromptPool:
    """Returns the texts that give a prompt in the tokens of a policy.

    Raises:
        InputError: No text does.
    """
    encode, prefix = partial(encode_batch, tokenizer), tuple(bos_prefix(tokenizer))
    return PromptPool(examples, encode, config, prefix=prefix)


def heldout_pool(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, config: PromptConfig
) -> PromptPool:
    """Returns `prompt_pool` of held-out texts.

    Raises:
        InputError: Fewer than two of them give a prompt.
    """
    pool = prompt_pool(examples, tokenizer, config)
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


def too_few_prompts(pool: PromptPool, count: int, config: PromptConfig) -> str | None:
    """Returns what to tell where held-out texts give fewer prompts than are wanted."""
    if len(pool) >= count:
        return None
    return (
        f"evaluation: {len(pool)} held-out prompts instead of {count}: no more held-out texts have "
        f"over {config.min_characters} characters (prompt.min_characters)"
    )
