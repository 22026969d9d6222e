"""What a source holds, what each command would read of it, and what is wrong with it."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from abcrl.config import DataConfig, InputError, InspectConfig, stream_seed
from abcrl.data.division import Parts, divide_source
from abcrl.data.formats import (
    LABELLED,
    PAIRS,
    PROMPTS,
    TEXTS,
    Use,
    find_layout,
    needed_columns,
    with_columns,
)
from abcrl.data.left_out import Tallies
from abcrl.data.reading import Reading
from abcrl.data.records import Pair, Record
from abcrl.data.sources import open_source, open_validation, require_source
from abcrl.data.tables import Table

from .rendered import Lengths, Rendered, Renderer
from .surveyed_columns import Column, ColumnSurvey
from .troubles import Labels, Trouble, projection_troubles, row_troubles, word_troubles

_COMMANDS: tuple[tuple[str, Use], ...] = (
    ("sft", TEXTS),
    ("train-rm, classifier", LABELLED),
    ("train-rm, bradley-terry", PAIRS),
    ("ppo", PROMPTS),
)


_READ = {
    "text": "whole texts",
    "response": "responses to prompts",
    "messages": "last turns, with the turns before as prompts",
    "pairs": "chosen responses, with their prompts",
    "prompt": "prompts",
}


@dataclass(frozen=True)
class Inspection:
    """What is to be known of a source.

    Attributes:
        source: Its name.
        rows: Number of its rows, those that cannot be read included.
        heldout_source: The name of the held-out data, where they have a source of their own.
        columns: What they hold.
        format: What a row is; None where that cannot be told.
        obstacle: Why rows cannot be read at all, or cannot be divided; "" if they can.
        uses: What each command reads; of one that cannot, why not.
        used: Rows that are used.
        train: Of those, rows to train on; None where they cannot be divided.
        heldout: Rows held out from all training, likewise.
        lengths: How long what is used is.
        labels: How often each label occurs; the most frequent, of many.
        chosen_longer: Share of the pairs whose chosen side has more characters; None: no pairs.
        examples: Some rows as the policy reads them.
        troubles: All that was found wrong, or worth knowing.
    """

    source: str
    rows: int
    heldout_source: str | None
    columns: Sequence[Column]
    format: str | None
    obstacle: str
    uses: Mapping[str, str]
    used: int
    train: int | None
    heldout: int | None
    lengths: Sequence[Lengths]
    labels: Mapping[str, int]
    chosen_longer: float | None
    examples: Sequence[Rendered]
    troubles: Sequence[Trouble]


def inspect_source(config: InspectConfig) -> Inspection:
    """Reads a source once and returns all that is to be known of it.

    Rows that cannot be read are collected, whatever `data.rows.bad` says.

    Raises:
        InputError: It cannot be read at all: there is no such file, it breaks off, ...
    """
    data = config.data
    require_source(data)
    renderer = Renderer(config)
    survey = ColumnSurvey(data.columns.label)
    tolerant = data if data.built_in else data.replace(rows=data.rows.replace(bad="drop"))
    table = with_columns(survey.watch(_open(data)), tolerant, PROMPTS)
    tallies = Tallies()
    try:
        reading = Reading(table, tolerant, PROMPTS, tallies)
    except InputError as error:
        for _ in table.rows:  # to see them all
            pass
        return _unread(table, survey, data, str(error))
    records = list(reading.records())
    parts, obstacle = _divide(reading, records, tolerant)
    labels = Labels(survey, data)
    return Inspection(
        source=table.name,
        rows=survey.count,
        heldout_source=data.validation,
        columns=survey.columns(table.columns),
        format=None if reading.layout is None else reading.layout.format,
        obstacle=obstacle,
        uses=_uses(table, data),
        used=len(records),
        train=None if parts is None else len(parts.train),
        heldout=None if parts is None else len(parts.heldout),
        lengths=renderer.lengths([record for _, record in records]),
        labels=labels.counts(),
        chosen_longer=_chosen_longer(record for _, record in records),
        examples=_examples(config, renderer, table, records),
        troubles=[
            *row_troubles(tallies, data),
            *(() if parts is None else projection_troubles(parts, data)),
            *labels.troubles(table, records),
            *word_troubles(renderer, table, records),
        ],
    )


def _open(data: DataConfig) -> Table:
    if not data.built_in:
        return open_source(data)
    from abcrl.data import toy

    count = toy.DEFAULT_COUNT if data.limit is None else data.limit
    reviews = toy.generate_reviews(count, seed=data.seed)
    rows = (
        (number, {"text": review.text, "label": review.label})
        for number, review in enumerate(reviews, start=1)
    )
    return Table(data.source, rows, in_lines=False, columns=["text", "label"])


def _unread(table: Table, survey: ColumnSurvey, data: DataConfig, obstacle: str) -> Inspection:
    return Inspection(
        source=table.name,
        rows=survey.count,
        heldout_source=data.validation,
        columns=survey.columns(table.columns),
        format=None,
        obstacle=obstacle,
        uses={},
        used=0,
        train=None,
        heldout=None,
        lengths=(),
        labels={},
        chosen_longer=None,
        examples=(),
        troubles=(),
    )


def _divide(
    reading: Reading, records: Sequence[tuple[int, Record]], data: DataConfig
) -> tuple[Parts | None, str]:
    """Returns both parts, or why there are none."""
    try:
        table = open_validation(data)
        heldout = None if table is None else Reading(table, data, PROMPTS, reading.tallies)
        return divide_source(records, reading, heldout, data), ""
    except InputError as error:
        return None, str(error)


def _uses(table: Table, data: DataConfig) -> dict[str, str]:
    return {command: _use(table, data, use) for command, use in _COMMANDS}


def _use(table: Table, data: DataConfig, use: Use) -> str:
    if data.built_in and use is PAIRS:
        return "pairs of reviews, the one with the higher gold score chosen"
    try:
        layout = find_layout(table, data, use)
    except InputError:
        return f"nothing: it needs {needed_columns(data.columns, use)}"
    said, skipped = _READ[layout.format], {"rejected", "margin"}
    if use is PROMPTS:
        said = "prompts" if layout.format != "text" else "prompts cut from the texts"
        skipped |= {"response"} if layout.splits else {"response", "chosen"}
    elif use is PAIRS:
        said, skipped = "pairs", set()
    read = [name for key, name in layout.columns.items() if key not in skipped]
    return f"{said} ({', '.join(read)})"


def _chosen_longer(records: Iterable[Record]) -> float | None:
    sides = [
        (len(record.chosen), len(record.rejected)) for record in records if isinstance(record, Pair)
    ]
    if not sides:
        return None
    return sum(chosen > rejected for chosen, rejected in sides) / len(sides)


def _examples(
    config: InspectConfig,
    renderer: Renderer,
    table: Table,
    records: Sequence[tuple[int, Record]],
) -> list[Rendered]:
    """Returns rows from anywhere: a file may be sorted by label."""
    order = list(range(len(records)))
    random.Random(stream_seed(config.data.seed, "inspect")).shuffle(order)
    chosen = [records[index] for index in sorted(order[: config.examples])]
    return [renderer.render(record, table.place(number)) for number, record in chosen]
