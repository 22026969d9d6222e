"""From the values of a row to an example or a pair, format by format."""

from collections.abc import Callable, Mapping
from typing import Any

from abcrl.config import DataConfig
from abcrl.dialogue import PromptText

from .formats import Layout
from .records import Example, Pair, Record
from .selection import EMPTY_RESPONSE
from .tables import BadRowError, Problem, listed
from .values import (
    UnusedRow,
    read_answers,
    read_label,
    read_margin,
    read_prompt,
    read_text,
    split_conversation,
    split_pair,
)

Parse = Callable[[Mapping[str, Any]], Record]


def make_parser(layout: Layout, config: DataConfig) -> Parse:
    """Returns what turns a row into a record.

    It raises BadRowError and UnusedRow.
    """
    parse = _PARSERS[layout.format](layout.columns)
    needed = tuple(layout.columns.values())
    absent = None
    if layout.splits:
        absent = config.columns.prompt
    label = layout.columns.get("label")
    labels = config.labels

    def parse_row(row: Mapping[str, Any]) -> Record:
        for column in needed:
            if column not in row:
                raise BadRowError(
                    f"must have the field {column!r}",
                    listed(list(row)),
                    "add it or remove the row",
                )
            if isinstance(row[column], Problem):
                raise BadRowError.of(row[column])
        if absent is not None and absent in row:
            rule = f"must not have the field {absent!r}, which the first rows lack"
            raise BadRowError(rule, remedy="remove it, or add it to all rows")
        record = parse(row)
        if label is None or isinstance(record, Pair):
            return record
        return Example(record.text, read_label(row[label], label, labels), record.prompt)

    return parse_row


def _text_parser(columns: Mapping[str, str]) -> Parse:
    text = columns["text"]
    return lambda row: Example(read_text(row[text], text))


def _prompt_parser(columns: Mapping[str, str]) -> Parse:
    prompt = columns["prompt"]
    return lambda row: Example("", prompt=read_prompt(row[prompt], prompt))


def _response_parser(columns: Mapping[str, str]) -> Parse:
    prompt, response = columns["prompt"], columns["response"]

    def parse(row: Mapping[str, Any]) -> Record:
        asked = read_prompt(row[prompt], prompt)
        return _answered(asked, *read_answers([row[response]], [response], asked))

    return parse


def _messages_parser(columns: Mapping[str, str]) -> Parse:
    messages = columns["messages"]

    def parse(row: Mapping[str, Any]) -> Record:
        return _answered(*split_conversation(row[messages], messages))

    return parse


def _answered(prompt: PromptText, response: str) -> Example:
    if not response or response.isspace():
        raise UnusedRow(EMPTY_RESPONSE)
    return Example(response, prompt=prompt)


def _pair_parser(columns: Mapping[str, str]) -> Parse:
    names = columns["chosen"], columns["rejected"]
    prompt, margin = columns.get("prompt"), columns.get("margin")

    def parse(row: Mapping[str, Any]) -> Record:
        sides = row[names[0]], row[names[1]]
        better = None if margin is None else read_margin(row[margin], margin)
        if prompt is None:
            return Pair(*split_pair(*sides, names), margin=better)
        asked = read_prompt(row[prompt], prompt)
        chosen, rejected = read_answers(sides, names, asked)
        return Pair(asked, chosen, rejected, better)

    return parse


_PARSERS: dict[str, Callable[[Mapping[str, str]], Parse]] = {
    "text": _text_parser,
    "prompt": _prompt_parser,
    "response": _response_parser,
    "messages": _messages_parser,
    "pairs": _pair_parser,
}
