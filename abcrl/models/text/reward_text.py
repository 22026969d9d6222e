"""What a reward model with a template or another tokenizer reads: the text, cut into its tokens."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, chain, cycle, pairwise

from transformers import PreTrainedTokenizerBase

from abcrl.dialogue import PromptText

from .tokenizers import special_ids, without_special

Span = tuple[int, int]


@dataclass(frozen=True)
class RewardText:
    """What the reward model is to read, and where in it the response stands.

    Attributes:
        text: Prompt, response, and the reward model's template.
        start: Character of `text` at which the response begins; a chat template may have taken
            white space off its ends.
        stop: Character after its last one.
        rendered: Whether a chat template has written `text` with its special tokens. They are then
            read as such, outside of prompt and response, and none are added. Otherwise all is plain
            text; BOS is added where the tokenizer begins with one, EOS where the response ends with
            one.
        words: Characters of `text`, before the response and in their order, that others have said:
            the turns of the prompt. Needed only of a rendered text.
    """

    text: str
    start: int
    stop: int
    rendered: bool = False
    words: tuple[Span, ...] = ()

    @property
    def before(self) -> "RewardText":
        """What stands before the response."""
        text = self.text[: self.start]
        return RewardText(text, self.start, self.start, self.rendered, self.words)

    @property
    def after(self) -> "RewardText":
        """What stands behind the response."""
        return RewardText(self.text[self.stop :], 0, 0, self.rendered)


Render = Callable[[PromptText | str, str], RewardText]
"""(prompt, response) -> what a model reads."""


def continue_prompt(prompt: PromptText | str, response: str) -> RewardText:
    """Returns the response right behind the prompt's text, without a template."""
    prompt = prompt if isinstance(prompt, str) else prompt.text or ""
    return RewardText(prompt + response, len(prompt), len(prompt) + len(response))


def encode_text(
    tokenizer: PreTrainedTokenizerBase, text: RewardText
) -> tuple[list[int], list[Span]]:
    """Returns the ids of a text and the characters that each comes from, BOS and EOS not added."""
    if not text.rendered:
        return _encode_part(tokenizer, text.text, as_words=True)
    ids, offsets = _encode_part(tokenizer, text.text, as_words=False)
    if not _spells_special(tokenizer, text, ids, offsets):
        return ids, offsets
    # A policy must not be able to close its own turn by writing so, nor a prompt to open one. Read
    # in parts, their words stay words; they no longer merge with the template's.
    ids, offsets = [], []
    cuts = (0, *chain.from_iterable(text.words), text.start, text.stop, len(text.text))
    for (start, stop), as_words in zip(pairwise(cuts), cycle((False, True)), strict=False):
        part_ids, spans = _encode_part(tokenizer, text.text[start:stop], as_words=as_words)
        ids += part_ids
        offsets += [(start + first, start + last) for first, last in spans]
    return ids, offsets


def byte_spans_of(text: str, offsets: list[Span], pieces: list[bytes]) -> list[Span]:
    """Returns the bytes of the text that each token covers.

    Args:
        text: What was encoded.
        offsets: The characters that each token comes from. They refer to the text as it was before
            the tokenizer normalised it, name the whole of a character that several tokens share,
            and leave out spaces in some tokenizers.
        pieces: The tokens' own bytes where they are known. They tell more than the offsets, where
            they stand in the text at that place: the tokenizer has changed nothing there.
    """
    data = text.encode()
    byte_at = [0, *accumulate(len(letter.encode()) for letter in text)]
    letter_of = [place for place, letter in enumerate(text) for _ in letter.encode()]
    spans, at = [], 0
    for (first, last), piece in zip(offsets, pieces, strict=True):
        start, stop = byte_at[first], byte_at[last]
        end = at + len(piece)
        stands_there = piece and data[at:end] == piece
        # Equal bytes may yet be others than those that the token was made from.
        if stands_there and letter_of[at] <= first and last <= letter_of[end - 1] + 1:
            start, stop = at, end
        # T5's tokenizer cuts at white space before it makes a token of it, and gives that token the
        # first letter of the next word.
        elif piece.isspace() and data[at:start].decode(errors="replace").isspace():
            start, stop = at, start
        spans.append((start, stop))
        at = max(at, stop)
    return spans


def _encode_part(
    tokenizer: PreTrainedTokenizerBase, text: str, *, as_words: bool
) -> tuple[list[int], list[Span]]:
    """Returns ids and characters; `as_words` where special tokens spelled out stay text."""
    encoded = tokenizer(
        text,
        add_special_tokens=False,
        split_special_tokens=as_words,
        return_offsets_mapping=True,
        verbose=False,
    )
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    if as_words:
        [ids] = without_special(tokenizer, [ids])
    return ids, offsets


def _spells_special(
    tokenizer: PreTrainedTokenizerBase, text: RewardText, ids: list[int], offsets: list[Span]
) -> bool:
    """Whether a special token was read out of the words of the prompt or of the response."""
    special = special_ids(tokenizer)
    words = (*text.words, (text.start, text.stop))
    found = (place for place in zip(ids, offsets, strict=True) if place[0] in special)
    return any(
        # Spelled out, that is: <unk> stands for other words too.
        str(tokenizer.decode([token])) in text.text[start:stop]
        for token, (start, stop) in found
        if any(start < end and begin < stop for begin, end in words)
    )
