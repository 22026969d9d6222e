"""Which records are used: what says nothing, or is too long, is not."""

from collections.abc import Callable

from abcrl.config import RowsConfig

from .records import Example, Pair, Record

EMPTY_TEXT = "empty text"
EMPTY_PROMPT = "empty prompt"
EMPTY_RESPONSE = "empty response"
IDENTICAL = "chosen and rejected are the same"


def make_selection(rows: RowsConfig) -> Callable[[Record], str]:
    """Returns what tells why a record is not used; "" where it is."""
    shortest, longest, turns = rows.min_characters, rows.max_characters, rows.max_turns
    bounded = shortest is not None or longest is not None

    def reason(record: Record) -> str:
        found = _emptiness(record)
        if found:
            return found
        if bounded:
            low, high = _characters(record)
            if shortest is not None and low < shortest:
                return f"shorter than {shortest} characters"
            if longest is not None and high > longest:
                return f"longer than {longest} characters"
        if turns is not None and record.prompt is not None and _turns(record) > turns:
            return f"the user speaks more than {turns} times" if turns > 1 else "more than one turn"
        return ""

    return reason


def _emptiness(record: Record) -> str:
    if record.prompt is not None and record.prompt.empty:
        return EMPTY_PROMPT
    if isinstance(record, Pair):
        if _blank(record.chosen) or _blank(record.rejected):
            return EMPTY_RESPONSE if record.prompt is not None else EMPTY_TEXT
        return IDENTICAL if record.chosen.strip() == record.rejected.strip() else ""
    return EMPTY_TEXT if record.prompt is None and _blank(record.text) else ""


def _blank(text: str) -> bool:
    return not text or text.isspace()


def _characters(record: Record) -> tuple[int, int]:
    """Returns the lengths of the shorter and the longer side, with the prompt."""
    sides = (record.text,) if isinstance(record, Example) else (record.chosen, record.rejected)
    lengths = [len(side) + prompt_characters(record) for side in sides]
    return min(lengths), max(lengths)


def prompt_characters(record: Record) -> int:
    """Returns the length of a prompt; of turns, that of their contents."""
    if record.prompt is None:
        return 0
    if record.prompt.text is not None:
        return len(record.prompt.text)
    return sum(len(turn.content) for turn in record.prompt.turns)


def _turns(record: Record) -> int:
    assert record.prompt is not None  # counted only then
    return sum(turn.role == "user" for turn in record.prompt.conversation)
