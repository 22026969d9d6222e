"""The texts of a run, divided into a part to train on and a part held out."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from abcrl.config import DataConfig, InputError, stream_seed

from . import toy


@dataclass(frozen=True)
class Example:
    """One text; `label` is 1 (positive), 0 (negative) or None where the source has none."""

    text: str
    label: int | None = None


@dataclass(frozen=True)
class Corpus:
    """Divided texts, and what the source knows about any text beyond its label.

    Attributes:
        train: Texts to train on.
        validation: Texts held out from all training.
        fingerprint: Content hash of all texts and labels, in order.
        gold_score: The true score of any text, where the source knows one.
        causal_spans: Character spans of the words that decide the gold score, likewise.
    """

    train: Sequence[Example]
    validation: Sequence[Example]
    fingerprint: str
    gold_score: Callable[[str], float] | None = None
    causal_spans: Callable[[str], list[tuple[int, int]]] | None = None

    def require_labels(self) -> None:
        """Refuses texts without labels, or with labels of one class only.

        Raises:
            InputError: A classifier cannot be trained on these texts.
        """
        for part, examples in (("training", self.train), ("validation", self.validation)):
            labels = {example.label for example in examples}
            if labels != {0, 1}:
                shown = ", ".join(sorted(map(str, labels))) or "none"
                raise InputError(
                    f"data.source: the {part} texts must carry both labels 0 and 1, received "
                    f"{shown}; give labelled texts of both classes"
                )


def require_source(config: DataConfig) -> None:
    """Refuses a source that does not exist, before anything is loaded.

    Raises:
        InputError: There is no such source.
    """
    if config.source not in _SOURCES:
        raise InputError(
            f"data.source: must be one of {', '.join(_SOURCES)}, received {config.source!r}; "
            f"choose one with --dataset"
        )


def load_corpus(config: DataConfig) -> Corpus:
    """Returns the divided texts of a source.

    Raises:
        InputError: The source does not exist or gives too few texts.
    """
    require_source(config)
    return _SOURCES[config.source](config)


def _load_toy(config: DataConfig) -> Corpus:
    count = toy.DEFAULT_COUNT if config.limit is None else config.limit
    reviews = toy.generate_reviews(count, seed=config.seed)
    train, validation = _divide([Example(review.text, review.label) for review in reviews], config)
    return Corpus(
        train=train,
        validation=validation,
        fingerprint=_fingerprint([*train, *validation]),
        gold_score=toy.gold_score,
        causal_spans=toy.causal_spans,
    )


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


def _fingerprint(examples: Iterable[Example]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for example in examples:
        digest.update(f"{example.label}\0{example.text}\0".encode())
    return digest.hexdigest()


_SOURCES: dict[str, Callable[[DataConfig], Corpus]] = {"toy": _load_toy}
