"""What a source holds, what each command would read of it, and what is wrong with it."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from abcrl.config import DataConfig, InputError, InspectConfig, stream_seed
from abcrl.config.template import CHAT_TEMPLATE
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

from .lengths import Lengths, Limit, measure
from .rendered import Rendered, Renderer
from .surveyed_columns import Column, ColumnSurvey
from .troubles import (
    Labels,
    Trouble,
    projection_troubles,
    row_troubles,
    template_troubles,
    word_troubles,
)

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
        refused: Of those, rows that cannot be written as `data.template` says.
        untried: Whether nothing was written in the chat template that `data.template` asks for, as
            no tokenizer is named.
        train: Of those, rows to train on; None where they cannot be divided.
        heldout: Rows held out from all training, likewise.
        lengths: How long what is used is.
        limits: What the default token limits do to it; none without a tokenizer.
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
    refused: int
    untried: bool
    train: int | None
    heldout: int | None
    lengths: Sequence[Lengths]
    limits: Sequence[Limit]
    labels: Mapping[str, int]
    chosen_longer: float | None
    examples: Sequence[Rendered]
    troubles: Sequence[Trouble]

    @property
    def usable(self) -> bool:
        """Whether rows can be read and divided, and the template takes some of them."""
        return not self.obstacle and self.refused < self.used


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
    numbered = list(reading.records())
    records = [record for _, record in numbered]
    parts, obstacle = _divide(reading, numbered, tolerant)
    labels = Labels(survey, data)
    lengths, limits = measure(renderer, records)
    refusals = template_troubles(renderer, table, numbered)
    return Inspection(
        source=table.name,
        rows=survey.count,
        heldout_source=data.validation,
        columns=survey.columns(table.columns),
        format=None if reading.layout is None else reading.layout.format,
        obstacle=obstacle,
        uses=_uses(table, data, prompted=reading.prompted is not False),
        used=len(records),
        refused=sum(one.found.count for one in refusals),
        untried=config.tokenizer is None
        and data.template == CHAT_TEMPLATE
        and any(record.prompt is not None for record in records),
        train=None if parts is None else len(parts.train),
        heldout=None if parts is None else len(parts.heldout),
        lengths=lengths,
        limits=limits,
        labels=labels.counts(),
        chosen_longer=_chosen_longer(records),
        examples=_examples(config, renderer, table, numbered),
        troubles=[
            *row_troubles(tallies, data),
            *(() if parts is None else projection_troubles(parts, data)),
            *labels.troubles(table, numbered),
            *refusals,
            *word_troubles(renderer, table, numbered),
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
        refused=0,
        untried=False,
        train=None,
        heldout=None,
        lengths=(),
        limits=(),
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


def _uses(table: Table, data: DataConfig, *, prompted: bool) -> dict[str, str]:
    return {command: _use(table, data, use, prompted=prompted) for command, use in _COMMANDS}


def _use(table: Table, data: DataConfig, use: Use, *, prompted: bool) -> str:
    """Returns what is read, and of which columns; `prompted`: whether the rows have prompts."""
    if data.built_in and use is PAIRS:
        return "pairs of reviews, the one with the higher gold score chosen"
    try:
        layout = find_layout(table, data, use)
    except InputError:
        return f"nothing: it needs {needed_columns(data.columns, use)}"
    if layout.splits:
        said, skipped = _read_of_sides(use, prompted=prompted)
    elif use is PROMPTS and layout.format == "text":
        said, skipped = "prompts cut from the texts", set()
    elif use is PROMPTS:
        said, skipped = "prompts", {"response", "chosen", "rejected", "margin"}
    elif use is PAIRS:
        said, skipped = "pairs", set()
    else:
        said, skipped = _READ[layout.format], {"rejected", "margin"}
    read = [name for key, name in layout.columns.items() if key not in skipped]
    return f"{said} ({', '.join(read)})"


def _read_of_sides(use: Use, *, prompted: bool) -> tuple[str, set[str]]:
    """Returns what is read of pairs without a column for the prompt, and what is not."""
    if use is PAIRS:
        return f"pairs{', with the prompt that both sides begin with' if prompted else ''}", set()
    if prompted:  # which both sides have to tell
        said = "prompts" if use is PROMPTS else "chosen responses, with the prompts"
        return f"{said} that both sides begin with", {"margin"}
    said = "prompts cut from the chosen texts" if use is PROMPTS else "whole chosen texts"
    return said, {"rejected", "margin"}


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
