"""The texts or pairs of a run, divided into a part to train on and a part held out."""

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from abcrl.config import InputError, stream_seed

from .left_out import Finding, LeftOut, in_rows
from .records import Example, Pair, Record

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Corpus(Generic[R]):
    """Divided rows, and what the source knows about any text beyond its label.

    Attributes:
        train: Texts or pairs to train on.
        validation: Those held out from all training.
        fingerprint: Content hash of all of them, in order.
        label_fingerprint: Content hash of their labels, or margins; None where none are read.
        left_out: The rows of the source that are not used, and why.
        kept: Rows that are used, though there is something to be known of them, by what it is.
        gold_score: The true score of any text, where the source knows one.
        causal_spans: Character spans of the words that decide the gold score, likewise.
    """

    train: Sequence[R]
    validation: Sequence[R]
    fingerprint: str
    label_fingerprint: str | None = None
    left_out: LeftOut = LeftOut()  # noqa: RUF009 - frozen
    kept: Mapping[str, Finding] = field(default_factory=dict)
    gold_score: Callable[[str], float] | None = None
    causal_spans: Callable[[str], list[tuple[int, int]]] | None = None

    @property
    def fingerprints(self) -> dict[str, str]:
        """What environment.json keeps of the corpus."""
        named = {"texts": self.fingerprint, "labels": self.label_fingerprint}
        return {name: value for name, value in named.items() if value is not None}

    def notes(self) -> Iterator[str]:
        """Yields what is to be told of the rows: what was left out, and what was not."""
        yield from self.left_out.lines()
        for what, finding in self.kept.items():
            yield f"data: {in_rows(finding.count)} kept, though {what} ({finding})"

    def sample_validation(self, count: int) -> list[R]:
        """Returns held-out texts or pairs drawn at random, the same ones each time, in order."""
        return self._sample(self.validation, count, "validation-sample")

    def sample_train(self, count: int) -> list[R]:
        """Returns some to train on, likewise."""
        return self._sample(self.train, count, "train-sample")

    def _sample(self, records: Sequence[R], count: int, stream: str) -> list[R]:
        # Never the first ones: a file may be sorted by label.
        order = list(range(len(records)))
        random.Random(stream_seed(0, stream, self.fingerprint)).shuffle(order)
        return [records[index] for index in sorted(order[:count])]

    def require_labels(self: "Corpus[Example]") -> None:
        """Refuses texts without labels, or with labels of one class only.

        Raises:
            InputError: A classifier cannot be trained on these texts.
        """
        for part, examples in (("training", self.train), ("validation", self.validation)):
            labels = {example.label for example in examples}
            if labels != {0, 1}:
                counts = Counter(example.label for example in examples)
                raise InputError(
                    f"data.source: the {part} texts must be of both classes, received "
                    f"{counts[1]} positive, {counts[0]} negative and {counts[None]} unlabelled; "
                    f"give texts of both, or another data.columns.label or data.labels"
                )


def make_corpus(
    train: list[R],
    validation: list[R],
    **known: Any,  # noqa: ANN401 - the other fields of a corpus
) -> Corpus[R]:
    """Returns divided rows with their fingerprints."""
    records = [*train, *validation]
    said = [one.margin if isinstance(one, Pair) else one.label for one in records]
    labels = [str(value) for value in said if value is not None]
    return Corpus(
        train,
        validation,
        fingerprint=fingerprint(one.content for one in records),
        label_fingerprint=fingerprint(labels) if labels else None,
        **known,
    )


def fingerprint(texts: Iterable[str]) -> str:
    """Returns a content hash of texts, in order."""
    digest = hashlib.blake2b(digest_size=16)
    for text in texts:
        content = text.encode()
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()
