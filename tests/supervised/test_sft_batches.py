"""Which tokens SFT learns, and texts that share a row without seeing each other."""

from collections.abc import Sequence
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from abcrl.config import InputError
from abcrl.data import Example, Pair
from abcrl.dialogue import PromptText
from abcrl.models import PromptedText
from abcrl.supervised.sft_batches import (
    IGNORED,
    collate,
    collate_packed,
    features,
    pack,
    require_separate,
)
from abcrl.supervised.texts import pad_right, readable_texts, require_places

EXAMPLES = [
    Example(" was good.", prompt=PromptText("The plot")),
    Example(" was not.", prompt=PromptText("The acting and the plot")),
]
TEXTS = [PromptedText([5, 6, 7, 8, 0], 2), PromptedText([9, 0], 1), PromptedText([3, 4, 0], 0)]


def learnt(tokenizer: PreTrainedTokenizerBase, batch: dict[str, Tensor], row: int) -> str:
    labels = batch["labels"][row]
    return str(tokenizer.decode(labels[labels != IGNORED]))


def batch_of(
    tokenizer: PreTrainedTokenizerBase,
    loss: str,
    examples: Sequence[Example] = EXAMPLES,
    policy_template: str | None = None,
) -> dict[str, Tensor]:
    texts = readable_texts(examples, tokenizer, 64, policy_template=policy_template)
    make = partial(features, texts, loss=loss)
    rows = [make(index=index) for index in range(len(texts))]
    return collate(rows, pad_token_id=tokenizer.pad_token_id)


def test_responses_and_their_eos_are_learnt_and_nothing_else(tiny_tokenizer):
    batch = batch_of(tiny_tokenizer, "response")
    assert learnt(tiny_tokenizer, batch, 0) == " was good.<|endoftext|>"
    assert learnt(tiny_tokenizer, batch, 1) == " was not.<|endoftext|>"


def test_prompts_are_learnt_where_all_is(tiny_tokenizer):
    batch = batch_of(tiny_tokenizer, "all")
    start = "<|endoftext|>" if batch["input_ids"][0, 0] == tiny_tokenizer.bos_token_id else ""
    assert learnt(tiny_tokenizer, batch, 0) == f"{start}The plot was good.<|endoftext|>"


def test_a_template_is_prompt(tiny_tokenizer):
    batch = batch_of(tiny_tokenizer, "response", policy_template="Q: {prompt} A: {response}")
    assert learnt(tiny_tokenizer, batch, 0) == " was good.<|endoftext|>"
    assert "Q: The plot A: was good." in tiny_tokenizer.decode(batch["input_ids"][0])


@pytest.mark.parametrize("loss", ["response", "all"])
def test_plain_texts_are_learnt_whole(tiny_tokenizer, loss):
    batch = batch_of(tiny_tokenizer, loss, [Example("The plot was good.")])
    assert learnt(tiny_tokenizer, batch, 0).endswith("The plot was good.<|endoftext|>")


def test_eos_is_learnt_of_complete_texts_alone(tiny_tokenizer):
    texts = readable_texts([Example("The plot " * 20), Example("The plot")], tiny_tokenizer, 8)
    assert len(texts[0].ids) == 8
    assert texts[0].ids[-1] != tiny_tokenizer.eos_token_id
    assert texts[1].ids[-1] == tiny_tokenizer.eos_token_id


def test_a_response_that_does_not_fit_is_left_out_and_none_is_cut(tiny_tokenizer):
    long = Example(" was good." * 20, prompt=PromptText("The plot"))
    texts = readable_texts([long, *EXAMPLES], tiny_tokenizer, 40)
    assert texts.examples == EXAMPLES
    assert getattr(texts, "too_long", None) == 1
    with pytest.raises(InputError, match=r"^training\.max_length: some prompt and .*none of 1 fit"):
        readable_texts([long], tiny_tokenizer, 40)


@pytest.mark.parametrize("template", ["chat", "Q: {prompt}{response}"])
def test_a_reward_models_template_without_prompts_is_refused(tiny_tokenizer, template):
    for rows in ([Example("a")], [Pair(None, "a", "b")]):
        with pytest.raises(InputError, match=r"^template: must hold no {prompt} where rows are p"):
            require_places(rows, None, template)
    assert require_places([Example("a")], None, "Rate: {response}")
    assert not require_places(EXAMPLES, None, template)


def test_a_template_without_prompts_is_refused(tiny_tokenizer):
    with pytest.raises(InputError, match=r"^data\.template: must be left out where rows are plain"):
        readable_texts([Example("a")], tiny_tokenizer, 40, policy_template="Q {prompt}{response}")


def test_padding_is_masked_and_carries_no_loss():
    rows = [{"input_ids": [5, 6, 7], "start": 0}, {"input_ids": [8], "start": 0}]
    batch = collate(rows, pad_token_id=1)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 1, 1]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[5, 6, 7], [8, -100, -100]]


def test_a_pad_token_inside_a_text_is_learned_like_any_other():
    batch = collate([{"input_ids": [5, 1, 7], "start": 0}], pad_token_id=1)
    assert batch["labels"].tolist() == [[5, 1, 7]]
    assert "labels" not in pad_right([{"input_ids": [5]}], pad_token_id=1)


@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=200), seed=st.integers(0, 3))
def test_every_text_has_a_place_and_no_row_is_too_long(lengths, seed):
    rows = pack(lengths, width=20, seed=seed)
    assert sorted(number for row in rows for number in row) == list(range(len(lengths)))
    assert all(0 < sum(lengths[number] for number in row) <= 20 for row in rows)
    assert rows == pack(lengths, width=20, seed=seed)


def test_rows_are_well_filled():
    lengths = [5 + number % 23 for number in range(2000)]
    rows = pack(lengths, width=64, seed=0)
    assert sum(lengths) / (64 * len(rows)) > 0.97


def test_a_packed_row_by_hand():
    rows = [[{"input_ids": text.ids, "start": text.start} for text in TEXTS[:2]]]
    rows.append([{"input_ids": TEXTS[2].ids, "start": 0}])
    batch = collate_packed(rows, pad_token_id=1)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 0, 9, 0], [3, 4, 0, 1, 1, 1, 1]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 0, 1], [0, 1, 2, 0, 1, 2, 3]]
    none = IGNORED
    assert batch["labels"].tolist() == [
        [none, none, 7, 8, 0, none, 0],
        [none, 4, 0, none, none, none, none],
    ]
    assert batch["use_cache"] is False


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "mistral", "qwen3", "gpt_neox", "gptj"])
def test_texts_in_one_row_have_the_loss_of_texts_alone(tiny_causal_lm, architecture):
    model = tiny_causal_lm(architecture)
    require_separate(model, TEXTS, 1)
    rows = [{"input_ids": text.ids, "start": text.start} for text in TEXTS]
    alone = collate(rows, pad_token_id=1)
    with torch.no_grad():
        packed = model(**collate_packed([rows], pad_token_id=1)).loss
        one_by_one = model(**alone).loss
    # As many tokens are learnt in both: the first of a text is predicted by nothing in either.
    assert float(packed) == pytest.approx(float(one_by_one), rel=1e-5)


def test_a_model_in_which_texts_see_each_other_is_refused(tiny_causal_lm):
    # Its bias for distance is made from the whole row.
    with pytest.raises(
        InputError, match=r"^packing: must be false for model type 'bloom', in which"
    ):
        require_separate(tiny_causal_lm("bloom"), TEXTS, 1)
