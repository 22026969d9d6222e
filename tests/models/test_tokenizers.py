"""Tokenizers: text survives the round trip, and stays text whatever it spells out."""

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from abcrl.config import InputError
from abcrl.models.tokenizers import (
    add_pad_token,
    bos_prefix,
    encode_batch,
    encode_plain,
    load_tokenizer,
    shares_ids,
    tokenizer_identity,
    tokens_in_spans,
    train_tokenizer,
)

GPT2 = Path(__file__).parents[3] / "shared" / "data" / "gpt2_tokenizer"
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
    assert shares_ids(tiny_tokenizer, longer)
    assert not shares_ids(longer, tiny_tokenizer)


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


def refuse(reference: Path, key: str = "model.tokenizer") -> str:
    with pytest.raises(InputError) as refused:
        load_tokenizer(str(reference), key)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        line = refuse(folder, "policy")
        assert line.startswith("policy: must be a folder that holds a tokenizer (tokenizer.json, ")
        assert f"received {folder}; " in line


def test_a_tokenizer_without_eos_is_refused(tmp_path):
    backend = Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=backend).save_pretrained(tmp_path)
    assert refuse(tmp_path).startswith("model.tokenizer: the tokenizer must have an EOS token")


def save_bpe(folder: Path, special: list[str], *, template: bool = False) -> Tokenizer:
    """Saves a byte-level BPE as tokenizer.json, and nothing beside it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    if template:
        tokenizer.post_processor = TemplateProcessing(
            single=f"{special[0]} $A", special_tokens=[(special[0], 0)]
        )
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


def assert_usable(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Ready for a model from scratch: its own pad, lossless, and the same after being saved."""
    add_pad_token(tokenizer)
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    tokenizer.save_pretrained(folder)
    again = load_tokenizer(str(folder), "policy")
    assert again.get_vocab() == tokenizer.get_vocab()
    text = f" was not . it 's naïve 🙂 {tokenizer.eos_token} "
    for one in (tokenizer, again):
        ids = encode_plain(one, text)
        assert not {one.eos_token_id, one.pad_token_id} & set(ids)
        assert one.decode(ids, skip_special_tokens=True) == text
        assert one.decode([one.eos_token_id], skip_special_tokens=True) == ""
    assert again.eos_token_id == tokenizer.eos_token_id
    assert again.pad_token_id == tokenizer.pad_token_id
    assert bos_prefix(again) == bos_prefix(tokenizer)


@pytest.mark.skipif(not GPT2.is_dir(), reason=f"GPT-2's vocabulary, {GPT2}, is absent")
def test_gpt2_s_vocabulary_alone_gives_gpt2_s_ids(tmp_path):
    tokenizer = load_tokenizer(str(GPT2), "model.tokenizer")
    assert encode_plain(tokenizer, "Hello world") == [15496, 995]
    assert tokenizer.eos_token == "<|endoftext|>"
    assert tokenizer.eos_token_id == tokenizer.bos_token_id == 50256
    assert len(tokenizer) == 50257
    assert_usable(tokenizer, tmp_path)
    assert tokenizer.pad_token_id == 50257


@pytest.mark.parametrize("end", ["<|endoftext|>", "</s>"])
def test_a_vocabulary_in_gpt2_s_style_is_enough(tmp_path, end):
    backend = save_bpe(tmp_path / "json", [end])
    (tmp_path / "bpe").mkdir()
    backend.model.save(str(tmp_path / "bpe"))
    assert sorted(path.name for path in (tmp_path / "bpe").iterdir()) == [
        "merges.txt",
        "vocab.json",
    ]
    tokenizer = load_tokenizer(str(tmp_path / "bpe"), "model.tokenizer")
    assert tokenizer.get_vocab() == backend.get_vocab()
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == (end, 0)
    ids = [*bos_prefix(tokenizer), *encode_plain(tokenizer, "good plot")]
    assert ids == backend.encode("good plot").ids
    assert_usable(tokenizer, tmp_path / "saved")


@pytest.mark.parametrize(
    ("special", "eos"),
    [
        (["<|endoftext|>"], "<|endoftext|>"),
        (["<s>", "</s>"], "</s>"),
        (["<unk>", "<eos>"], "<eos>"),
        (["<|im_start|>", "<|im_end|>"], "<|im_end|>"),
    ],
)
def test_a_tokenizer_json_alone_ends_texts_with_the_token_that_says_so(tmp_path, special, eos):
    backend = save_bpe(tmp_path / "json", special)
    tokenizer = load_tokenizer(str(tmp_path / "json"), "model.tokenizer")
    assert tokenizer.eos_token == eos
    assert tokenizer.get_vocab() == backend.get_vocab()
    assert bos_prefix(tokenizer) == []
    assert_usable(tokenizer, tmp_path / "saved")


def test_a_tokenizer_json_alone_keeps_the_token_that_it_begins_texts_with(tmp_path):
    save_bpe(tmp_path / "json", ["<s>", "</s>"], template=True)
    tokenizer = load_tokenizer(str(tmp_path / "json"), "model.tokenizer")
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<s>", "</s>")
    assert bos_prefix(tokenizer) == [0]
    assert_usable(tokenizer, tmp_path / "saved")


@pytest.mark.parametrize("special", [[], ["<s>"], ["<|endoftext|>", "</s>"]])
def test_an_end_that_is_not_beyond_doubt_is_refused(tmp_path, special):
    backend = save_bpe(tmp_path / "json", special)
    (tmp_path / "bpe").mkdir()
    backend.model.save(str(tmp_path / "bpe"))
    for folder in (tmp_path / "json", tmp_path / "bpe"):
        line = refuse(folder)
        assert line.startswith("model.tokenizer: the tokenizer must have an EOS token (it ends a ")
        assert line.endswith("name it as eos_token in its tokenizer_config.json")


def test_an_end_that_is_a_mere_word_of_the_vocabulary_is_none(tmp_path):
    backend = save_bpe(tmp_path / "json", [])
    backend.add_tokens(["</s>"])
    backend.save(str(tmp_path / "json" / "tokenizer.json"))
    assert "must have an EOS token" in refuse(tmp_path / "json")


def test_a_declared_tokenizer_without_eos_is_not_guessed_at(tmp_path):
    save_bpe(tmp_path, ["</s>"])
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "TokenizersBackend"}')
    assert "must have an EOS token" in refuse(tmp_path)


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json", "merges.txt"])
def test_a_damaged_tokenizer_is_refused_in_one_line(tmp_path, name):
    backend = save_bpe(tmp_path, ["</s>"])
    if name != "tokenizer.json":
        (tmp_path / "tokenizer.json").unlink()
        backend.model.save(str(tmp_path))
    file = tmp_path / name
    file.write_bytes(file.read_bytes()[:300] + b" x y z")
    line = refuse(tmp_path)
    assert line.startswith(f"model.tokenizer: must come with its tokenizer, received {tmp_path} (")


def test_half_of_a_vocabulary_is_refused(tmp_path):
    backend = save_bpe(tmp_path / "json", ["</s>"])
    backend.model.save(str(tmp_path))
    (tmp_path / "merges.txt").unlink()
    assert refuse(tmp_path).startswith("model.tokenizer: must ")


def test_the_identity_of_a_tokenizer_is_all_that_its_ids_follow_from():
    tokenizer = train_tokenizer(TEXTS, 270)
    assert tokenizer_identity(tokenizer) == tokenizer_identity(train_tokenizer(TEXTS, 270))
    encode_batch(tokenizer, ["the plot"])
    assert tokenizer_identity(tokenizer) == tokenizer_identity(copy.deepcopy(tokenizer))
    others = [train_tokenizer(TEXTS, 265), train_tokenizer(["Other words altogether. "] * 3, 270)]
    assert len({tokenizer_identity(one) for one in (tokenizer, *others)}) == 3
