"""From the values of a row to texts, prompts, turns and labels; what is none is a bad row."""

import math
from collections.abc import Sequence

from abcrl.dialogue import ROLES, PromptText, Turn, is_transcript, parse_transcript

from .tables import BadRowError, short

ANSWER_MARKER = "\n\nAssistant:"
"""What comes before the answer in a transcript."""

OUT_OF_ORDER = "role markers out of order"
UNANSWERED = "a transcript without an answer"
EMPTY_TURN = "a turn in which nothing is said"
DIFFERENT_PROMPTS = "the two sides answer different prompts"


class UnusedRow(Exception):  # noqa: N818 - nothing is wrong: the row is of no use
    """A row can be read and is not used; the message is the reason."""


def read_text(value: object, column: str) -> str:
    """Returns a text.

    Raises:
        BadRowError: It is no string, or no Unicode.
    """
    if not isinstance(value, str):
        raise BadRowError(f"{column} must be a string", short(value))
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:  # JSON can spell half of a surrogate pair
            raise BadRowError(f"{column} must be valid Unicode", "a lone surrogate") from None
    return value


def read_prompt(value: object, column: str) -> PromptText:
    """Returns a prompt: a text, a transcript that breaks off where the answer begins, or turns.

    White space behind the last marker of a transcript stays in its text.

    Raises:
        BadRowError: It is none of these, or its last turn is not the user's.
        UnusedRow: It is a transcript whose speakers do not alternate, or say nothing.
    """
    if isinstance(value, list):
        turns = read_turns(value, column)
        if turns[-1].role != "user":
            raise BadRowError(f"{column} must end with a turn of the user", turns[-1].role)
        return PromptText(turns=turns)
    text = _text_or_turns(value, column)
    if is_transcript(text) and text.rstrip().endswith(ANSWER_MARKER):
        return _transcript_prompt(text)
    return PromptText(text)


def read_answers(
    values: Sequence[object], columns: Sequence[str], prompt: PromptText
) -> tuple[str, ...]:
    """Returns the responses of a row: texts, or the one turn of a list each.

    Before it the prompt may be repeated, before all of them where it is a transcript: of another
    text nobody can tell whether it is not meant to be said again.

    Raises:
        BadRowError: One is neither, or another's turn.
    """
    answers = tuple(
        _read_answer(value, column, prompt) for value, column in zip(values, columns, strict=True)
    )
    asked = prompt.text if prompt.turns else None
    if asked is not None and all(answer.startswith(asked) for answer in answers):
        return tuple(answer.removeprefix(asked) for answer in answers)
    return answers


def _read_answer(value: object, column: str, prompt: PromptText) -> str:
    if not isinstance(value, list):
        return _text_or_turns(value, column)
    turns = read_turns(value, column, begins="assistant" if len(value) == 1 else "user")
    if turns[:-1] == prompt.conversation:
        turns = turns[-1:]
    if len(turns) > 1:
        rule = f"{column} must be the one turn that answers, or begin with the prompt's turns"
        raise BadRowError(rule, f"{len(turns)} turns")
    return _last_words(turns, column)


def split_conversation(value: object, column: str) -> tuple[PromptText, str]:
    """Returns the prompt and the answer that a conversation, or a transcript of one, ends in.

    Raises:
        BadRowError: It is neither, or does not end with a turn of the assistant.
        UnusedRow: It is a transcript whose speakers do not alternate, or say nothing, or the last
            is the human, or the only one.
    """
    if isinstance(value, list):
        turns = read_turns(value, column)
        words = _last_words(turns, column)
        return PromptText(turns=turns[:-1]), words
    text = _text_or_turns(value, column)
    if not is_transcript(text):
        raise BadRowError(
            f"{column} must be a list of turns, or a transcript that begins with '\\n\\nHuman:'",
            short(text),
        )
    before, marker, words = text.rpartition(ANSWER_MARKER)
    if not marker:
        raise UnusedRow(UNANSWERED)
    if is_marked(words):
        raise UnusedRow(OUT_OF_ORDER)
    return _transcript_prompt(before + marker), words


def split_pair(
    chosen: object, rejected: object, columns: tuple[str, str]
) -> tuple[PromptText | None, str, str]:
    """Returns the prompt that two answers begin with, and the answers; other texts have none.

    Raises:
        BadRowError: They are neither two lists of turns nor two strings.
        UnusedRow: They begin with different prompts; see also `split_conversation`.
    """
    if isinstance(chosen, list) != isinstance(rejected, list):
        rule = f"{columns[0]} and {columns[1]} must both be strings or both be lists of turns"
        raise BadRowError(rule, "one of each")
    if not isinstance(chosen, list):
        sides = read_text(chosen, columns[0]), read_text(rejected, columns[1])
        if not any(map(is_transcript, sides)):
            return None, *sides
        if not all(map(is_transcript, sides)):
            raise UnusedRow(DIFFERENT_PROMPTS)
    elif len(chosen) == 1 and isinstance(rejected, list) and len(rejected) == 1:
        first, second = (
            _last_words(read_turns(side, column, begins="assistant"), column)
            for side, column in zip((chosen, rejected), columns, strict=True)
        )
        return None, first, second
    prompt, first = split_conversation(chosen, columns[0])
    other, second = split_conversation(rejected, columns[1])
    if prompt != other:
        raise UnusedRow(DIFFERENT_PROMPTS)
    return prompt, first, second


def read_turns(value: Sequence[object], column: str, *, begins: str = "user") -> tuple[Turn, ...]:
    """Returns the turns of a list.

    Args:
        value: The list: of each turn a mapping with role and content.
        column: Its column.
        begins: Whose turn comes first; before a user's there may be one of the system.

    Raises:
        BadRowError: It holds something else, no turn, or speakers that do not alternate.
    """
    turns = tuple(_read_turn(turn, column) for turn in value)
    if not turns:
        raise BadRowError(f"{column} must hold at least one turn", "an empty list")
    spoken = turns[1:] if begins == "user" and turns[0].role == "system" else turns
    others = {"user": "assistant", "assistant": "user"}
    expected = begins
    for turn in spoken:
        if turn.role != expected:
            rule = f"{column} must alternate between user and assistant, after the system's turn"
            raise BadRowError(rule, ", ".join(turn.role for turn in turns[:6]))
        expected = others[expected]
    return turns


def read_label(value: object, column: str, labels: Sequence[int | str]) -> int:
    """Returns 0 or 1 for the negative and the positive spelling.

    Raises:
        BadRowError: It is neither.
    """
    # Files of lines know only strings; True equals 1.
    for meaning, spelling in enumerate(labels):
        if isinstance(value, int | float | str) and (
            value == spelling or str(value) == str(spelling)
        ):
            return meaning
    negative, positive = labels
    raise BadRowError(
        f"{column} must be {negative!r} or {positive!r}",
        short(value),
        "name the two values in data.labels, the negative one first, e.g. [bad, good]",
    )


def read_margin(value: object, column: str) -> float:
    """Returns a number from 0.

    Raises:
        BadRowError: It is none.
    """
    number = math.nan
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
    if not math.isfinite(number) or number < 0:
        raise BadRowError(f"{column} must be a number from 0", short(value))
    return number


def is_marked(text: str) -> bool:
    """Whether a text spells a role marker of transcripts."""
    return "\n\nHuman:" in text or ANSWER_MARKER in text


def _text_or_turns(value: object, column: str) -> str:
    if not isinstance(value, str):
        raise BadRowError(f"{column} must be a string or a list of turns", short(value))
    return read_text(value, column)


def _transcript_prompt(text: str) -> PromptText:
    turns = parse_transcript(text)
    if turns is None or turns[-1].role != "user":
        raise UnusedRow(OUT_OF_ORDER)
    if not all(turn.content for turn in turns[:-1]):
        raise UnusedRow(EMPTY_TURN)
    return PromptText(text, turns)


def _read_turn(value: object, column: str) -> Turn:
    if not isinstance(value, dict) or not {"role", "content"} <= value.keys():
        raise BadRowError(f"{column} must hold turns with role and content", short(value))
    if value["role"] not in ROLES:
        rule = f"{column} must hold turns whose role is {', '.join(ROLES[:-1])} or {ROLES[-1]}"
        raise BadRowError(rule, short(value["role"]))
    return Turn(value["role"], read_text(value["content"], f"{column}: content"))


def _last_words(turns: Sequence[Turn], column: str) -> str:
    if turns[-1].role != "assistant":
        raise BadRowError(f"{column} must end with a turn of the assistant", turns[-1].role)
    return turns[-1].content
