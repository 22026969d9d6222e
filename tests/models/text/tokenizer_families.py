"""What the tests across tokenizers share: a tokenizer of each family, and texts to try them on.

All but one are trained here, on a few lines in several scripts.
"""

import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from abcrl.models import encode_plain, load_tokenizer, train_tokenizer

SHARED = Path(os.environ.get("ABCRL_SHARED", Path(__file__).parents[4] / "shared"))
GPT2 = SHARED / "data" / "gpt2_tokenizer"
CORPUS = [
    "The plot was good, and the acting was not. A naïve café, don't you think?",
    "Das Stück war schön; über den Schluß läßt sich streiten.  Two  spaces.\n\nNew lines.",
    "中文电影很好看 סרט טוב מאוד فيلم جيد 🙂 🙂👍🏽",
] * 3


def byte_level() -> PreTrainedTokenizerBase:
    """GPT-2's style: each character of a token is a byte."""
    return train_tokenizer(CORPUS, 330)


def wordpiece() -> PreTrainedTokenizerBase:
    """BERT's style: lower case, no accents, no spaces, and [UNK] for what it has not seen."""
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=150, special_tokens=["[UNK]", "[CLS]", "[SEP]"], show_progress=False
    )
    backend.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", bos_token="[CLS]", eos_token="[SEP]"
    )


def unigram() -> PreTrainedTokenizerBase:
    """XLM-RoBERTa's style: NFKC, spaces as ▁, <unk> for what it has not seen."""
    return unigram_behind(pre_tokenizers.Metaspace())


def t5() -> PreTrainedTokenizerBase:
    """T5's style: as unigram, but cut into words before spaces become ▁, once for each word."""
    return unigram_behind(
        pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    )


def unigram_behind(pre_tokenizer: Any) -> PreTrainedTokenizerBase:
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizer
    backend.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=150,
        special_tokens=["<unk>", "<s>", "</s>"],
        unk_token="<unk>",
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def byte_fallback() -> PreTrainedTokenizerBase:
    """Llama's style: spaces as ▁, and tokens such as <0xE2> for what it has not seen."""
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=120, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False
    )
    backend.train_from_iterator(CORPUS[:1], trainer)
    model = json.loads(backend.to_str())["model"]
    vocabulary = model["vocab"]
    for value in range(256):
        vocabulary[f"<0x{value:02X}>"] = len(vocabulary)
    backend.model = models.BPE(
        vocabulary,
        [tuple(merge) for merge in model["merges"]],
        unk_token="<unk>",
        byte_fallback=True,
        fuse_unk=True,
    )
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def gpt2() -> PreTrainedTokenizerBase:
    """The real vocabulary."""
    if not GPT2.exists():
        pytest.skip("wants GPT-2's vocabulary, shared/data/gpt2_tokenizer")
    return load_tokenizer(str(GPT2), "policy")


FAMILIES: dict[str, Callable[[], PreTrainedTokenizerBase]] = {
    "byte-level": byte_level,
    "wordpiece": wordpiece,
    "unigram": unigram,
    "t5": t5,
    "byte-fallback": byte_fallback,
    "gpt2": gpt2,
}


@functools.cache
def tokenizer_of(family: str) -> PreTrainedTokenizerBase:
    """Returns the tokenizer of a family, made once; skips where its vocabulary is absent."""
    return FAMILIES[family]()


PIECES = st.one_of(
    st.sampled_from(
        [
            *(
                "The plot",
                " was",
                " good",
                "ing",
                ".",
                "  ",
                " ",
                "\n\n",
                "\t",
                "THE PLÓT",
                " don't",
            ),
            *("🙂", "👩‍👩‍👧", "👍🏽", "🇩🇪", "中文电影", "，很好看。", "漢"),  # noqa: RUF001
            *(" סרט", "טוֹב", "فيلم جيد", "\u202eabc\u202c", "e\u0301", "a\u0308\u0323", "\u0301"),
            *("ﬁn", "①", "Å", "ß", "\x00", "\u200b", "\ufffd", "\ufeff", "</s>", "<s>", "[SEP]"),
            *("<|endoftext|>", "[UNK]", "<0xE2>", "##ing", "▁", "Ġ"),
        ]
    ),
    st.text(max_size=6),
)
TEXTS = st.lists(PIECES, max_size=8).map("".join)
"""Emoji, Chinese, right to left, combining marks, what normalisers change, lookalikes."""

KNOWN_TEXTS = st.lists(st.sampled_from(CORPUS[0].lower().split()), max_size=8).map(" ".join)
"""Words that all tokenizers have seen."""


@st.composite
def ids_of(draw: st.DrawFn, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids as a policy writes them: of texts, and any others, which need not be whole characters."""
    ids: list[int] = []
    for _ in range(draw(st.integers(0, 3))):
        if draw(st.booleans()):
            ids += encode_plain(tokenizer, draw(TEXTS))
        else:
            ids += draw(st.lists(st.integers(0, len(tokenizer) - 1), max_size=8))
    return ids
