"""Tokenizers: trained on the data, or loaded."""

import unicodedata
from collections.abc import Iterable
from pathlib import Path

import tokenizers
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoTokenizer,
    GPT2Tokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from abcrl.config import InputError
from abcrl.config.paths import require_tokenizer_folder
from abcrl.hub import locate

END_OF_TEXT = "<|endoftext|>"
PAD = "<|pad|>"
# How an end of text is called in vocabularies that come without a word about their tokens.
_END_TOKENS = (END_OF_TEXT, "</s>", "<eos>", "<|im_end|>")
# Text is text: a review that spells out the end-of-text token does not end there.
_PLAIN = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerBase:
    """Returns a byte-level BPE tokenizer in GPT-2's style with distinct end-of-text and pad."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=PAD,
        # Decoding must give back what was encoded: " was not ." stays as it is.
        clean_up_tokenization_spaces=False,
    )


def load_tokenizer(reference: str, key: str) -> PreTrainedTokenizerBase:
    """Returns the tokenizer of a local folder or Hub id.

    A folder may hold no more than GPT-2's `vocab.json` and `merges.txt`, or a `tokenizer.json`; EOS
    is then the one end-of-text token that the vocabulary has.

    Args:
        reference: Local folder or Hub id.
        key: Configuration key to name when it cannot be loaded.

    Raises:
        InputError: There is none, or it has no EOS token.
    """
    require_tokenizer_folder(reference, key)
    place = locate(reference, key)
    try:
        if _is_undeclared(place):
            tokenizer = _read_undeclared(place)
        else:
            tokenizer = AutoTokenizer.from_pretrained(place)
        letters = encode_plain(tokenizer, "a")
    except Exception as error:  # the tokenizers library raises no narrower class
        raise InputError(
            f"{key}: must come with its tokenizer, received {reference} "
            f"({' '.join(str(error).split())[:160]})"
        ) from None
    if not letters:
        # Without tokenizer files transformers makes an empty GPT-2 tokenizer from the model's type.
        raise InputError(
            f"{key}: must come with its tokenizer, received {reference} with one that knows no "
            f"letters; save the tokenizer beside the model"
        )
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"{key}: the tokenizer must have an EOS token (it ends a response), received "
            f"{reference} without one; name it as eos_token in its tokenizer_config.json"
        )
    tokenizer.clean_up_tokenization_spaces = False
    return tokenizer


def _is_undeclared(reference: str) -> bool:
    """Whether a local folder holds a vocabulary, and no file that says what its tokens are."""
    folder = Path(reference)
    says = ("tokenizer_config.json", "special_tokens_map.json", "config.json")
    return folder.is_absolute() and not any((folder / name).exists() for name in says)


def _read_undeclared(reference: str) -> PreTrainedTokenizerBase:
    """Returns the tokenizer of such a folder, with the special tokens that are beyond doubt."""
    tokenizer: PreTrainedTokenizerBase
    if (Path(reference) / "tokenizer.json").exists():
        tokenizer = AutoTokenizer.from_pretrained(reference)
        added = tokenizer.added_tokens_decoder.values()
        special = {token.content for token in added if token.special}
    else:
        tokenizer = GPT2Tokenizer.from_pretrained(
            reference, unk_token=None, bos_token=None, eos_token=None
        )
        special = set(tokenizer.get_vocab())
    ends = [name for name in _END_TOKENS if name in special]
    if len(ends) == 1:
        tokenizer.add_special_tokens({"eos_token": ends[0]})
        if ends[0] == END_OF_TEXT:  # in GPT-2's style it stands between texts
            tokenizer.add_special_tokens({"bos_token": END_OF_TEXT})
    first = tokenizer("a", verbose=False)["input_ids"][:1]
    if first != encode_plain(tokenizer, "a")[:1]:  # the tokenizer begins every text with it
        tokenizer.add_special_tokens({"bos_token": tokenizer.convert_ids_to_tokens(first[0])})
    return tokenizer


def add_pad_token(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Adds a pad token where there is none, or where it is the end-of-text token; True if added."""
    if tokenizer.pad_token is not None and tokenizer.pad_token_id != tokenizer.eos_token_id:
        return False
    tokenizer.add_special_tokens({"pad_token": PAD})
    return True


def shares_ids(policy: PreTrainedTokenizerBase, reward_model: PreTrainedTokenizerBase) -> bool:
    """Whether the policy's ids are what the reward model would read of the same text.

    Both know the same words. Either may have added tokens of its own, such as a pad token; but
    further words in one would be spelled in parts by the other.
    """
    ours, theirs = policy.get_vocab().items(), reward_model.get_vocab().items()
    our_words = ours - policy.get_added_vocab().items()
    their_words = theirs - reward_model.get_added_vocab().items()
    return bool(our_words <= theirs and their_words <= ours)


def unshared_ids(
    policy: PreTrainedTokenizerBase, reward_model: PreTrainedTokenizerBase
) -> list[int]:
    """Returns the ids, in order, that mean nothing or another thing to the reward model."""
    return sorted(
        number for _, number in policy.get_vocab().items() - reward_model.get_vocab().items()
    )


def encode_batch(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """Returns `encode_plain` of each text, faster than one by one."""
    if not texts:  # which transformers does not take
        return []
    return without_special(tokenizer, tokenizer(texts, **_PLAIN)["input_ids"])


def tokenizer_identity(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Returns all that the ids of a text follow from; None where the tokenizer does not tell."""
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        return None
    content: str = tokenizer.backend_tokenizer.to_str()
    versions = f"tokenizers {tokenizers.__version__}, transformers {transformers.__version__}"
    return f"{versions}\n{sorted(_PLAIN.items())}\n{content}"


def encode_plain(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Returns the ids of a text and nothing else; special tokens written in it stay text."""
    [ids] = encode_batch(tokenizer, [text])
    return ids


def without_special(tokenizer: PreTrainedTokenizerBase, rows: list[list[int]]) -> list[list[int]]:
    """Returns the ids of texts, unknown for special tokens.

    Unigram vocabularies hold them among their words and find them in any text that spells them,
    whatever they are told: a review that says </s> would end there.
    """
    unknown = tokenizer.unk_token_id
    if unknown is None:
        return rows
    special = special_ids(tokenizer)
    return [[unknown if each in special else each for each in ids] for ids in rows]


def special_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Returns the ids of special tokens, those included that have no name, <|im_start|> say."""
    added = tokenizer.added_tokens_decoder.items()
    return {*tokenizer.all_special_ids, *(each for each, token in added if token.special)}


def bos_prefix(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Returns [BOS] where the tokenizer begins every text with it, else []."""
    # Not of an empty text: an EOS appended to it would stand first, and may be the same token.
    ids: list[int] = tokenizer("a", verbose=False)["input_ids"]
    starts = tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]
    return ids[:1] if starts else []


def tokens_in_spans(
    tokenizer: PreTrainedTokenizerBase, text: str, spans: list[tuple[int, int]]
) -> list[bool]:
    """Returns for each token of `encode_plain` whether it overlaps one of the character spans."""
    offsets = tokenizer(text, return_offsets_mapping=True, **_PLAIN)
    return [
        any(start < span_end and span_start < end for span_start, span_end in spans)
        for start, end in offsets["offset_mapping"]
    ]


def punctuation_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Returns the ids, in order, whose text is punctuation or symbols and nothing else.

    That is Unicode's general categories P and S, with or without white space around. Special
    tokens, white space alone, and parts of a character are none.
    """
    special = special_ids(tokenizer)
    return sorted(
        token_id
        for token, token_id in tokenizer.get_vocab().items()
        if token_id not in special and _is_punctuation(_text_of(tokenizer, token))
    )


def _text_of(tokenizer: PreTrainedTokenizerBase, token: str) -> str:
    # Behind a letter, because some decoders treat the first token of a text in their own way: they
    # keep the ## of a WordPiece, or drop a space.
    text: str = tokenizer.convert_tokens_to_string(["x", token])
    return text.removeprefix("x").strip()


def _is_punctuation(text: str) -> bool:
    # Bytes that are no character on their own decode to the replacement character, a symbol.
    return bool(text) and all(
        unicodedata.category(letter)[0] in "PS" and letter != "\N{REPLACEMENT CHARACTER}"
        for letter in "".join(text.split())
    )
