"""From held-out texts to prompts in the policy's tokens, and back to text."""

import pytest

from abcrl.config import InputError, PromptConfig
from abcrl.data import Example
from abcrl.dialogue import PromptText
from abcrl.rl.sampling.prompts import (
    heldout_pool,
    heldout_prompts,
    prompt_pool,
    require_batch,
    too_few_prompts,
)

TEXTS = [Example(f"The plot was good, and the acting of act {n} was not. ") for n in range(5)]
CONFIG = PromptConfig(min_tokens=2, max_tokens=4, min_characters=0)


def test_no_text_gives_two_held_out_prompts(tiny_tokenizer):
    pool = heldout_pool(TEXTS, tiny_tokenizer, CONFIG)
    prompts = heldout_prompts(pool, 50, seed=0)
    assert [prompt.index for prompt in prompts] == [0, 1, 2, 3, 4]
    assert heldout_prompts(pool, 3, seed=0) == prompts[:3]
    assert {len(prompt.ids) for prompt in prompts} <= {2, 3, 4}


def test_too_few_prompts_are_told_of(tiny_tokenizer):
    pool = prompt_pool(TEXTS, tiny_tokenizer, CONFIG)
    assert too_few_prompts(pool, 5, CONFIG) is None
    told = too_few_prompts(pool, 6, CONFIG)
    assert told is not None
    assert told.startswith("evaluation: 5 held-out prompts instead of 6: ")


def test_one_held_out_text_is_refused(tiny_tokenizer):
    with pytest.raises(InputError, match=r"^data\.validation_fraction: must leave at least two"):
        heldout_pool(TEXTS[:1], tiny_tokenizer, CONFIG)


def test_given_prompts_that_leave_no_batch_are_refused(tiny_tokenizer):
    asked = [Example("yes", prompt=PromptText("The plot " * n)) for n in range(1, 9)]
    config = PromptConfig(max_tokens=7)
    pool = prompt_pool(asked, tiny_tokenizer, config)
    require_batch(pool, config, len(pool))
    with pytest.raises(InputError) as refused:
        require_batch(pool, config, len(pool) + 1)
    assert str(refused.value) == (
        f"prompt.max_tokens: must leave at least ppo.batch_size ({len(pool) + 1}) prompts to train "
        f"on, received 7, which leaves {len(pool)} of 8; raise it, or give more prompts"
    )
    texts = prompt_pool(TEXTS, tiny_tokenizer, CONFIG)
    require_batch(texts, CONFIG, 100)  # their beginnings come again in other lengths
