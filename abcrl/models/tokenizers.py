"""Tokenizers: trained on the data, or loaded."""

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from abcrl.config import InputError

END_OF_TEXT = "<|endoftext|>"
PAD = "<|pad|>"
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

    Args:
        reference: Local folder or Hub id.
        key: Configuration key to name when it cannot be loaded.

    Raises:
        InputError: There is none, or it has no EOS token.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(reference)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{key}: must come with its tokenizer, received {reference} "
            f"({str(error).splitlines()[0][:160]})"
        ) from None
    if not encode_plain(tokenizer, "a"):
        # Without tokenizer files transformers makes an empty GPT-2 tokenizer from the model's type.
        raise InputError(
            f"{key}: must come with its tokenizer, received {reference} with one that knows no "
            f"letters; save the tokenizer beside the model"
        )
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"{key}: the tokenizer must have an EOS token (it ends a response), received "
            f"{reference} without one"
        )
    tokenizer.clean_up_tokenization_spaces = False
    return tokenizer


def add_pad_token(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Adds a pad token where there is none, or where it is the end-of-text token; True if added."""
    if tokenizer.pad_token is not None and tokenizer.pad_token_id != tokenizer.eos_token_id:
        return False
    tokenizer.add_special_tokens({"pad_token": PAD})
    return True


def shares_ids(policy: PreTrainedTokenizerBase, reward_model: PreTrainedTokenizerBase) -> bool:
    """Whether the policy's ids mean the same text to the reward model, so that ids can be shared.

    The reward model may have more tokens, such as the pad token that train-rm adds.
    """
    return policy.get_vocab().items() <= reward_model.get_vocab().items()


def encode_text(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Returns the ids of a text, with BOS exactly once where the tokenizer puts one, and no EOS."""
    return [*bos_prefix(tokenizer), *encode_plain(tokenizer, text)]


def encode_plain(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Returns the ids of a text and nothing else; special tokens written in it stay text."""
    ids: list[int] = tokenizer(text, **_PLAIN)["input_ids"]
    return ids


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
