"""What the rows of a source hold, in which columns, and which rows are used."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from .base import Group

Column = Annotated[str, Field(min_length=1)]

Format = Literal["auto", "text", "response", "pairs", "messages", "prompt"]
"""What a row is; see `DataConfig.format`."""


class ColumnsConfig(Group):
    """Names of the columns or fields; those that a row's format does not have are not looked for.

    A value is a string; that of prompt, response, chosen, rejected and messages may also be a list
    of turns, each with its role (system, user or assistant) and content.
    """

    text: Column = "text"
    """A whole text."""
    label: Column = "label"
    """Its label; read by the classifier objective alone."""
    prompt: Column = "prompt"
    """What is answered."""
    response: Column = "response"
    """The answer."""
    chosen: Column = "chosen"
    """The better answer of a pair; where there is no prompt column, with what it answers."""
    rejected: Column = "rejected"
    """The worse one, likewise."""
    messages: Column = "messages"
    """A whole conversation; its last turn is the answer."""
    margin: Column | None = None
    """How much better chosen is, a number from 0, for Bradley-Terry's loss; null: not read."""


def zero_and_one() -> list[int | str]:
    """Returns the labels that nobody has to name."""
    return [0, 1]


def _two_labels(value: object) -> object:
    spellings = value if isinstance(value, list) else []
    known = [one for one in spellings if isinstance(one, int | str) and not isinstance(one, bool)]
    if len(known) != 2 or len(spellings) != 2 or len(set(map(str, known))) != 2:
        raise ValueError(
            f"must be two different words or whole numbers, the negative one first, received "
            f"{value!r}; quote what YAML takes for something else, e.g. ['False', 'True']"
        )
    return value


Labels = Annotated[list[int | str], BeforeValidator(_two_labels)]
"""How a column spells negative and positive, in this order."""


class RowsConfig(Group):
    """Which rows are used; what is left out is counted and told, with the first places."""

    bad: Literal["refuse", "drop"] = "refuse"
    """What is done where a row cannot be read (a field is missing, of a wrong type or no Unicode, a
    line is no JSON): refuse the source, or leave the row out."""
    duplicates: Literal["drop", "keep"] = "drop"
    """Copies of an earlier row, all of its columns alike."""
    min_characters: Annotated[int, Field(ge=1)] | None = None
    """Shorter rows are left out, characters of prompt and text together; of a pair, the shorter
    side's."""
    max_characters: Annotated[int, Field(ge=1)] | None = None
    """Longer rows are left out, likewise; of a pair, the longer side's."""
    max_turns: Annotated[int, Field(ge=1)] | None = None
    """Conversations in which the user speaks more often are left out; 1: single-turn."""

    @model_validator(mode="after")
    def _range(self) -> "RowsConfig":
        low, high = self.min_characters, self.max_characters
        if low is not None and high is not None and high < low:
            raise ValueError(
                f"max_characters must be at least min_characters ({low}), received {high}"
            )
        return self
