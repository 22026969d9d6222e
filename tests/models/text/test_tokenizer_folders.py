"""What a folder holds is a tokenizer that can be used, or is refused in one line."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from abcrl.config import InputError
from abcrl.models.text.tokenizers import (
    add_pad_token,
    bos_prefix,
    encode_plain,
    load_tokenizer,
)

GPT2 = Path(__file__).parents[4] / "shared" / "data" / "gpt2_tokenizer"
TEXTS = ["The plot was good, and the acting was not. "] * 3


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
