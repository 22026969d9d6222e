"""What is wrong with the rows of a source, or worth knowing of them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from abcrl.config import DataConfig
from abcrl.data.division import Parts
from abcrl.data.left_out import Finding, Tallies, Tally
from abcrl.data.projection import Projection, answered, learnt
from abcrl.data.records import Example, Pair, Record
from abcrl.data.tables import BadRowError, Table
from abcrl.data.values import is_marked, read_label

from .rendered import Renderer
from .surveyed_columns import ColumnSurvey

_SHOWN_LABELS = 8


@dataclass(frozen=True)
class Trouble:
    """Something that is to be known of some rows.

    Attributes:
        what: What it is.
        effect: What comes of it: refused, left out, kept, ...
        found: In how many rows, and the first places.
    """

    what: str
    effect: str
    found: Finding


def row_troubles(tallies: Tallies, data: DataConfig) -> list[Trouble]:
    """Returns which rows cannot be read, are left out, or kept with something to be known."""
    bad = tallies.bad.findings()
    effect = "left out" if data.rows.bad == "drop" else "refused (data.rows.bad=drop leaves out)"
    return [
        *(Trouble(rule, effect, found) for rule, found in bad.items()),
        *(
            Trouble(reason, "left out", found)
            for reason, found in tallies.left_out.findings().items()
            if reason not in bad
        ),
        *(Trouble(what, "kept", found) for what, found in tallies.kept.findings().items()),
    ]


def projection_troubles(parts: Parts, data: DataConfig) -> list[Trouble]:
    """Returns which pairs are used, but not where their chosen text alone is learnt or begun."""
    found = []
    for take in (answered, learnt):
        projection = Projection(take, data.rows, Tally())
        projection.of(parts.train, parts.tables[0], parts.asked)
        projection.of(parts.heldout, parts.tables[1])
        found.append(projection.left_out.findings())
    prompts, texts = found
    return [
        Trouble(what, f"left out by sft{' and ppo' if what in prompts else ''}", one)
        for what, one in texts.items()
    ]


class Labels:
    """The label column, which is there though not every command reads it."""

    def __init__(self, survey: ColumnSurvey, data: DataConfig) -> None:
        """Takes what went by, and the spelling of the labels."""
        self._values = survey.labels
        self._data = data

    def counts(self) -> dict[str, int]:
        """Returns the most frequent values; of a column of other things than labels, none."""
        counted = Counter(str(value) for value in self._values.values())
        return dict(counted.most_common(_SHOWN_LABELS)) if len(counted) <= _SHOWN_LABELS else {}

    def troubles(self, table: Table, records: Sequence[tuple[int, Record]]) -> list[Trouble]:
        """Returns what a classifier would stumble over."""
        wrong, contradictory = Tally(), Tally()
        seen: dict[str, int] = {}
        for number, record in records if self._values else ():
            place = table.place(number)
            try:
                column = self._data.columns.label
                label = read_label(self._values.get(number), column, self._data.labels)
            except BadRowError as error:
                wrong.add(error.problem.rule, place)
                continue
            if seen.setdefault(record.content, label) != label:
                contradictory.add("the same text with the other label", place)
        return [
            *(
                Trouble(rule, "refused by train-rm's classifier alone", found)
                for rule, found in wrong.findings().items()
            ),
            *(Trouble(what, "kept", found) for what, found in contradictory.findings().items()),
        ]


def template_troubles(
    renderer: Renderer, table: Table, records: Sequence[tuple[int, Record]]
) -> list[Trouble]:
    """Returns which records cannot be written as `data.template` says; none is in two of these."""
    unwritten = Tally()
    for number, record in records:
        reason = renderer.why_not(record)
        if reason:
            unwritten.add(reason, table.place(number))
    return [Trouble(what, "refused", found) for what, found in unwritten.findings().items()]


def word_troubles(
    renderer: Renderer, table: Table, records: Sequence[tuple[int, Record]]
) -> list[Trouble]:
    """Returns which prompts are said again, or spell more than words."""
    repeated, spelled = Tally(), Tally()
    for number, record in records:
        if _repeats_prompt(record):
            repeated.add("a response begins with the whole prompt", table.place(number))
        for what in _spelled(record, renderer.special_tokens.values()):
            spelled.add(what, table.place(number))
    return [
        *(
            Trouble(what, "kept, so the prompt is read twice", found)
            for what, found in repeated.findings().items()
        ),
        *(Trouble(what, "kept as words", found) for what, found in spelled.findings().items()),
    ]


def _repeats_prompt(record: Record) -> bool:
    """Whether a response says again all that it answers, which nothing takes off."""
    prompt = record.prompt
    if prompt is None or (prompt.text is None and len(prompt.turns) > 1):
        return False
    answers = (record.text,) if isinstance(record, Example) else (record.chosen, record.rejected)
    asked = prompt.text or prompt.conversation[0].content
    return any(answer.startswith(asked) for answer in answers)


def _spelled(record: Record, special: Iterable[str]) -> list[str]:
    """Returns what a prompt spells that could be taken for more than words."""
    prompt = record.prompt
    if prompt is None:
        said = [] if isinstance(record, Pair) else [record.text]
        what = "text"
    else:
        said = [turn.content for turn in prompt.conversation]
        what = "prompt"
    found = [f"a {what} spells a role marker"] if any(map(is_marked, said)) else []
    return found + [
        f"a {what} spells the special token {token}"
        for token in special
        if any(token in words for words in said)
    ]
