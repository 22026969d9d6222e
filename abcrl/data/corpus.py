"""The texts of a run, divided into a part to train on and a part held out."""

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abcrl.config import DataConfig, InputError, stream_seed

from . import toy
from .files import open_table, require_file
from .records import Example, read_examples


@dataclass(frozen=True)
class Corpus:
    """Divided texts, and what the source knows about any text beyond its label.

    Attributes:
        train: Texts to train on.
        validation: Texts held out from all training.
        fingerprint: Content hash of all texts, in order.
        label_fingerprint: Content hash of their labels; None where labels are not read.
        blank: Number of texts that were left out because nothing but white space is in them.
        gold_score: The true score of any text, where the source knows one.
        causal_spans: Character spans of the words that decide the gold score, likewise.
    """

    train: Sequence[Example]
    validation: Sequence[Example]
    fingerprint: str
    label_fingerprint: str | None = None
    blank: int = 0
    gold_score: Callable[[str], float] | None = None
    causal_spans: Callable[[str], list[tuple[int, int]]] | None = None

    @property
    def fingerprints(self) -> dict[str, str]:
        """What environment.json keeps of the corpus."""
        named = {"texts": self.fingerprint, "labels": self.label_fingerprint}
        return {name: value for name, value in named.items() if value is not None}

    def sample_validation(self, count: int) -> list[Example]:
        """Returns held-out texts drawn at random, the same ones each time, in their order."""
        return self._sample(self.validation, count, "validation-sample")

    def sample_train(self, count: int) -> list[Example]:
        """Returns texts to train on, likewise."""
        return self._sample(self.train, count, "train-sample")

    def _sample(self, examples: Sequence[Example], count: int, stream: str) -> list[Example]:
        # Never the first ones: a file may be sorted by label.
        order = list(range(len(examples)))
        random.Random(stream_seed(0, stream, self.fingerprint)).shuffle(order)
        return [examples[index] for index in sorted(order[:count])]

    def require_labels(self) -> None:
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
                    f"give texts of both, or another data.label_column or data.labels"
                )


def require_source(config: DataConfig) -> None:
    """Refuses a file that cannot be read, before anything is loaded; a Hub id passes.

    Raises:
        InputError: There is no such file.
    """
    if Path(config.source).is_absolute():
        require_file(Path(config.source))


def load_corpus(config: DataConfig, *, labelled: bool = False) -> Corpus:
    """Returns the divided texts of a source.

    Args:
        config: Source, columns, division.
        labelled: Whether labels are read; then both classes must be in both parts.

    Raises:
        InputError: The source does not exist, a row of it cannot be used, or there are too few.
    """
    corpus = _load_toy(config) if config.built_in else _load_rows(config, labelled=labelled)
    if labelled:
        corpus.require_labels()
    return corpus


def read_corpus(
    config: DataConfig, tell: Callable[[str], None], *, labelled: bool = False
) -> Corpus:
    """Returns `load_corpus`, and tells what was left out of it.

    Raises:
        InputError: See `load_corpus`.
    """
    corpus = load_corpus(config, labelled=labelled)
    if corpus.blank:
        tell(f"data: {corpus.blank} texts left out, as nothing is in them")
    return corpus


def _load_toy(config: DataConfig) -> Corpus:
    count = toy.DEFAULT_COUNT if config.limit is None else config.limit
    reviews = toy.generate_reviews(count, seed=config.seed)
    train, validation = _divide([Example(review.text, review.label) for review in reviews], config)
    return _corpus(
        train,
        validation,
        gold_score=toy.gold_score,
        causal_spans=toy.causal_spans,
    )


def _load_rows(config: DataConfig, *, labelled: bool) -> Corpus:
    if config.on_hub:
        from .hub import open_hub_table  # its library takes a second to import

        table = open_hub_table(config)
    else:
        table = open_table(Path(config.source), config)
    examples, blank = [], 0
    for example in read_examples(table, config, labelled=labelled):
        if example.text.strip():
            examples.append(example)
        else:
            blank += 1
    if not examples:
        raise InputError(
            f"data.source: must hold at least two texts, received {table.name} with none"
            f"{' but blank ones' if blank else ''}; give another with --dataset"
        )
    train, validation = _divide(_draw(examples, config), config)
    return _corpus(train, validation, blank=blank)


def _draw(examples: list[Example], config: DataConfig) -> list[Example]:
    """Returns at most `limit` examples, in their order; a smaller limit draws some of the same."""
    if config.limit is None or config.limit >= len(examples):
        return examples
    order = list(range(len(examples)))
    random.Random(stream_seed(config.seed, "limit")).shuffle(order)
    return [examples[index] for index in sorted(order[: config.limit])]


def _divide(examples: Iterable[Example], config: DataConfig) -> tuple[list[Example], list[Example]]:
    """Holds out each text or not by a hash of the text itself.

    So a text is on the same side in every run, however many texts are read and in which order, and
    two copies of one text never end up on both sides.
    """
    parts: tuple[list[Example], list[Example]] = ([], [])
    for example in examples:
        draw = stream_seed(config.seed, "validation", example.text) / 2**63
        parts[draw < config.validation_fraction].append(example)
    for name, part in zip(("training", "validation"), parts, strict=True):
        if not part:
            raise InputError(
                f"data.validation_fraction: must leave at least one {name} text, received "
                f"{config.validation_fraction} of {len(parts[0]) + len(parts[1])} texts; "
                f"give more texts or another fraction"
            )
    return parts


def _corpus(
    train: list[Example],
    validation: list[Example],
    **known: Any,  # noqa: ANN401 - the other fields of a corpus
) -> Corpus:
    examples = [*train, *validation]
    labels = [str(example.label) for example in examples if example.label is not None]
    return Corpus(
        train,
        validation,
        fingerprint=fingerprint(example.text for example in examples),
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
