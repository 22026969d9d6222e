"""Tokenizers: text survives the round trip, and stays text whatever it spells out."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerBase

from abcrl.models.text.tokenizers import (
    add_pad_token,
    bos_prefix,
    encode_batch,
    encode_plain,
    load_tokenizer,
    shares_ids,
    tokenizer_identity,
    tokens_in_spans,
    train_tokenizer,
    unshared_ids,
)
from tests.models.text.tokenizer_families import tokenizer_of

TEXTS = ["The plot was good, and the acting was not. "] * 3


def with_template(tokenizer: PreTrainedTokenizerBase, template: str) -> PreTrainedTokenizerBase:
    """Returns a copy that adds special tokens as `template` says."""
    changed = copy.deepcopy(tokenizer)
    special = [("<|endoftext|>", changed.eos_token_id), ("<|pad|>", changed.pad_token_id)]
    backend: Any = changed
    backend.backend_tokenizer.post_processor = TemplateProcessing(
        single=template, special_tokens=special
    )
    return changed


@given(text=st.text())
def test_any_text_survives_the_round_trip(tiny_tokenizer: PreTrainedTokenizerBase, text):
    ids = encode_plain(tiny_tokenizer, text)
    assert tiny_tokenizer.decode(ids, skip_special_tokens=True) == text
    assert tiny_tokenizer.decode(ids, skip_special_tokens=False) == text


@pytest.mark.parametrize("text", [" was not . ", "it 's , so", "a  b\n\n", "naïve 🙂", " do n't "])
def test_spaces_are_not_cleaned_up(tiny_tokenizer: PreTrainedTokenizerBase, tmp_path, text):
    tiny_tokenizer.save_pretrained(tmp_path)
    for tokenizer in (tiny_tokenizer, load_tokenizer(str(tmp_path), "policy")):
        assert tokenizer.decode(encode_plain(tokenizer, text)) == text


def test_pad_end_of_text_and_vocabulary_size(tiny_tokenizer: PreTrainedTokenizerBase):
    assert tiny_tokenizer.pad_token_id is not None
    assert tiny_tokenizer.eos_token_id is not None
    assert tiny_tokenizer.pad_token_id != tiny_tokenizer.eos_token_id
    assert len(train_tokenizer(TEXTS, 270)) == 270
    # Training is deterministic, so that equal data give equal ids.
    assert train_tokenizer(TEXTS, 300).get_vocab() == tiny_tokenizer.get_vocab()


@pytest.mark.parametrize("special", ["<|endoftext|>", "<|pad|>"])
def test_a_special_token_spelled_out_in_a_text_stays_text(
    tiny_tokenizer: PreTrainedTokenizerBase, tmp_path, special
):
    tiny_tokenizer.save_pretrained(tmp_path)
    text = f"good{special} plot {special}"
    for tokenizer in (tiny_tokenizer, load_tokenizer(str(tmp_path), "policy")):
        assert special in tokenizer.get_vocab()
        ids = encode_plain(tokenizer, text)
        assert encode_batch(tokenizer, ["a", text]) == [encode_plain(tokenizer, "a"), ids]
        assert not {tokenizer.eos_token_id, tokenizer.pad_token_id} & set(ids)
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_bos_is_put_once_where_the_template_has_it(tiny_tokenizer: PreTrainedTokenizerBase):
    tokenizer = with_template(tiny_tokenizer, "<|endoftext|> $A")
    plain = encode_plain(tiny_tokenizer, "good plot")

    assert bos_prefix(tokenizer) == [tokenizer.bos_token_id]
    assert encode_plain(tokenizer, "good plot") == plain


@pytest.mark.parametrize("template", ["$A", "$A <|endoftext|>", "<|pad|> $A"])
def test_nothing_is_put_where_the_template_has_no_bos(
    tiny_tokenizer: PreTrainedTokenizerBase, template
):
    # Here BOS and EOS are one token: one that is appended must not be taken for BOS.
    tokenizer = with_template(tiny_tokenizer, template)
    assert bos_prefix(tokenizer) == []


def test_a_tokenizer_in_gpt2_style_puts_no_bos(tiny_tokenizer: PreTrainedTokenizerBase):
    assert bos_prefix(tiny_tokenizer) == []


def test_a_pad_token_is_added_where_there_is_none_of_its_own():
    tokenizer = train_tokenizer(TEXTS, 260)
    assert not add_pad_token(tokenizer)
    assert len(tokenizer) == 260

    for pad in (None, tokenizer.eos_token):
        bare: Any = copy.deepcopy(tokenizer)
        bare.pad_token = pad
        assert add_pad_token(bare)
        assert bare.pad_token_id not in (None, bare.eos_token_id)
        assert not add_pad_token(bare)


def test_ids_are_shared_when_they_mean_the_same_text(
    tiny_tokenizer: PreTrainedTokenizerBase, tmp_path
):
    tiny_tokenizer.save_pretrained(tmp_path)
    other = train_tokenizer(["Wholly different words, zebra quartz."] * 3, len(tiny_tokenizer))
    assert shares_ids(tiny_tokenizer, load_tokenizer(str(tmp_path), "policy"))
    assert not shares_ids(tiny_tokenizer, other)

    longer = load_tokenizer(str(tmp_path), "reward_model")
    longer.add_special_tokens({"sep_token": "<|sep|>"})
    # Added on either side: sft gives a pad token to a policy whose reward model has none.
    for ours, theirs in ((tiny_tokenizer, longer), (longer, tiny_tokenizer)):
        assert shares_ids(ours, theirs)
    assert unshared_ids(tiny_tokenizer, longer) == []
    assert unshared_ids(longer, tiny_tokenizer) == [longer.sep_token_id]

    renamed = load_tokenizer(str(tmp_path), "reward_model")
    renamed.add_special_tokens({"sep_token": "<|other|>"})
    assert renamed.sep_token_id == longer.sep_token_id
    assert shares_ids(longer, renamed)
    assert unshared_ids(longer, renamed) == [longer.sep_token_id]


def test_ids_are_not_shared_with_a_tokenizer_that_knows_longer_words():
    # Each id of the smaller means the same to the larger, which reads other ids of the same text.
    smaller, larger = (train_tokenizer(TEXTS, size) for size in (262, 290))
    assert smaller.get_vocab().items() < larger.get_vocab().items()
    assert encode_plain(smaller, TEXTS[0]) != encode_plain(larger, TEXTS[0])
    assert not shares_ids(smaller, larger)
    assert not shares_ids(larger, smaller)


@pytest.mark.parametrize("family", ["wordpiece", "unigram", "byte-fallback"])
def test_a_special_token_spelled_out_stays_text_in_every_family(family):
    tokenizer = tokenizer_of(family)
    text = f"good {tokenizer.eos_token} plot {tokenizer.bos_token}"
    [ids] = encode_batch(tokenizer, [text])
    assert ids == encode_plain(tokenizer, text)
    assert not {tokenizer.eos_token_id, tokenizer.bos_token_id} & set(ids)


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([], ""),
        ([(0, 3)], "The"),
        ([(4, 5)], " plot"),  # one letter of it
        ([(3, 4)], " plot"),  # the space belongs to the word
        ([(8, 8)], ""),  # an empty span overlaps nothing
        ([(0, 3), (9, 12)], "The was"),
        ([(0, 99)], "The plot was <|pad|> good"),
    ],
)
def test_tokens_in_spans_are_those_that_overlap(
    tiny_tokenizer: PreTrainedTokenizerBase, spans, expected
):
    text = "The plot was <|pad|> good"
    ids = encode_plain(tiny_tokenizer, text)
    inside = tokens_in_spans(tiny_tokenizer, text, spans)
    assert len(inside) == len(ids)
    chosen = [token for token, chosen in zip(ids, inside, strict=True) if chosen]
    assert tiny_tokenizer.decode(chosen) == expected


def test_the_identity_of_a_tokenizer_is_all_that_its_ids_follow_from():
    tokenizer = train_tokenizer(TEXTS, 270)
    assert tokenizer_identity(tokenizer) == tokenizer_identity(train_tokenizer(TEXTS, 270))
    encode_batch(tokenizer, ["the plot"])
    assert tokenizer_identity(tokenizer) == tokenizer_identity(copy.deepcopy(tokenizer))
    others = [train_tokenizer(TEXTS, 265), train_tokenizer(["Other words altogether. "] * 3, 270)]
    assert len({tokenizer_identity(one) for one in (tokenizer, *others)}) == 3
