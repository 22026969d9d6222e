"""What a response answers: a text, or a conversation of turns; and transcripts that spell one."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

ROLES = ("system", "user", "assistant")
"""Who speaks in a turn, as chat templates call them."""

_MARKERS = {"\n\nHuman:": "user", "\n\nAssistant:": "assistant"}
_MARKER = re.compile("(" + "|".join(map(re.escape, _MARKERS)) + ")")


@dataclass(frozen=True)
class Turn:
    """One turn of a conversation; the content is the speaker's words and nothing else."""

    role: str
    content: str


@dataclass(frozen=True)
class PromptText:
    """What a response answers, before any tokenizer has seen it.

    Attributes:
        text: As its source writes it, word for word; None where the source gives turns alone.
        turns: The conversation so far, a user's turn last; () where the source gives text alone.
    """

    text: str | None = None
    turns: tuple[Turn, ...] = ()

    @property
    def key(self) -> str:
        """What tells this prompt from others, however it is spelt: a list, a transcript, a text.

        It is what is said turn by turn, without white space around it; of a user's only turn, or
        of a text, the words alone.
        """
        said = [(turn.role, turn.content.strip()) for turn in self.conversation]
        if len(said) == 1:
            return said[0][1]
        return "".join(f"\0{role}\0{content}" for role, content in said)

    @property
    def spelling(self) -> str:
        """All that its source writes, which fingerprints are taken of."""
        if self.text is not None:
            return self.text
        return "".join(f"\0{turn.role}\0{turn.content}" for turn in self.turns)

    @property
    def empty(self) -> bool:
        """Whether nothing is asked: a text of white space, or a last turn of it."""
        asked = self.turns[-1].content if self.turns else self.text
        return not asked or asked.isspace()

    @property
    def conversation(self) -> tuple[Turn, ...]:
        """The turns; a text alone is what a user says."""
        return self.turns or (Turn("user", self.text or ""),)


def parse_transcript(text: str) -> tuple[Turn, ...] | None:
    r"""Returns the turns of a transcript, `\n\nHuman: ...\n\nAssistant: ...`, Anthropic hh's form.

    White space around what is said is left out, and so is an assistant's turn at the end of which
    there is nothing but its marker. A speaker who writes a marker cannot be told from a new turn;
    such a transcript does not alternate. A turn in which nothing is said has the content "".

    Returns:
        None where the text does not begin with a human's turn, or the speakers do not alternate.
    """
    before, *pieces = _MARKER.split(text)
    turns = [
        Turn(_MARKERS[marker], content.strip())
        for marker, content in zip(pieces[::2], pieces[1::2], strict=True)
    ]
    if before.strip() or not turns or not _alternates(turns):
        return None
    if turns[-1] == Turn("assistant", ""):
        turns.pop()
    return tuple(turns)


def is_transcript(text: str) -> bool:
    """Whether a text begins as a transcript does."""
    match = _MARKER.match(text)
    return match is not None and _MARKERS[match[0]] == "user"


def _alternates(turns: Sequence[Turn]) -> bool:
    expected = ("user", "assistant")
    return all(turn.role == expected[number % 2] for number, turn in enumerate(turns))
