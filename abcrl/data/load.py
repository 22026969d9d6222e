"""The corpus of a run: texts to learn, preference pairs, or prompts, read from its source."""

from collections.abc import Callable
from typing import TypeVar

from abcrl.config import DataConfig

from . import toy
from .corpus import Corpus, make_corpus
from .division import divide, draw, hold_out
from .formats import LABELLED, PAIRS, PROMPTS, TEXTS, Use, named_columns
from .left_out import Finding, LeftOut, Tally
from .reading import HELD_OUT, Reading, require_like, require_some
from .records import Example, Pair, Record
from .sources import open_source, open_validation

R = TypeVar("R", Example, Pair)


def load_corpus(config: DataConfig, *, labelled: bool = False) -> Corpus[Example]:
    """Returns the divided texts of a source: whole ones, or responses with what they answer.

    Of a pair it is the chosen one, of a conversation the last turn.

    Args:
        config: Source, columns, division.
        labelled: Whether labels are read; then both classes must be in both parts.

    Raises:
        InputError: The source does not exist, a row of it cannot be used, or there are too few.
    """
    if config.built_in:
        corpus = _load_toy(config)
    else:
        corpus = _load(config, LABELLED if labelled else TEXTS, _learnt)
    if labelled:
        corpus.require_labels()
    return corpus


def load_pairs(config: DataConfig) -> Corpus[Pair]:
    """Returns the divided preference pairs of a source.

    Raises:
        InputError: See `load_corpus`; or its rows are no pairs.
    """
    if config.built_in:
        count = toy.DEFAULT_COUNT if config.limit is None else config.limit
        pairs = [
            Pair(None, chosen, rejected)
            for chosen, rejected in toy.generate_pairs(count, seed=config.seed)
        ]
        return make_corpus(*divide(pairs, config), gold_score=toy.gold_score)
    return _load(config, PAIRS, _pair)


def load_prompts(config: DataConfig) -> Corpus[Example]:
    """Returns what is answered in PPO: whole texts, which prompts are cut from, or prompts.

    Where the rows have prompts, what answers them is not read: text is "".

    Raises:
        InputError: See `load_corpus`.
    """
    return _load_toy(config) if config.built_in else _load(config, PROMPTS, _asked)


def read_corpus(
    config: DataConfig, tell: Callable[[str], None], *, labelled: bool = False
) -> Corpus[Example]:
    """Returns `load_corpus`, and tells what was left out of it.

    Raises:
        InputError: See `load_corpus`.
    """
    return _told(load_corpus(config, labelled=labelled), tell)


def read_pairs(config: DataConfig, tell: Callable[[str], None]) -> Corpus[Pair]:
    """Returns `load_pairs`, and tells what was left out of them.

    Raises:
        InputError: See `load_pairs`.
    """
    return _told(load_pairs(config), tell)


def read_prompts(config: DataConfig, tell: Callable[[str], None]) -> Corpus[Example]:
    """Returns `load_prompts`, and tells what was left out of them.

    Raises:
        InputError: See `load_prompts`.
    """
    return _told(load_prompts(config), tell)


def _told(corpus: Corpus[R], tell: Callable[[str], None]) -> Corpus[R]:
    for line in corpus.notes():
        tell(line)
    return corpus


def _load_toy(config: DataConfig) -> Corpus[Example]:
    count = toy.DEFAULT_COUNT if config.limit is None else config.limit
    reviews = toy.generate_reviews(count, seed=config.seed)
    train, validation = divide([Example(review.text, review.label) for review in reviews], config)
    return make_corpus(train, validation, gold_score=toy.gold_score, causal_spans=toy.causal_spans)


def _load(config: DataConfig, use: Use, project: Callable[[Record], R]) -> Corpus[R]:
    """Reads and divides the records of a source, and only then takes of each what is needed.

    So whatever they are read for, the same ones are held out and the same drawn.
    """
    left_out, contradictory = Tally(), Tally()
    wanted = named_columns(config.columns)
    source = Reading(open_source(config, wanted), config, use, left_out, contradictory)
    heldout = open_validation(config, wanted)
    if heldout is None:
        records = [record for _, record in source.records()]
        require_some(records, source.table, left_out)
        train, validation = divide(draw(records, config), config)
    else:
        named = Reading(heldout, config, use, left_out, contradictory)
        require_like(named, source)
        records = [record for _, record in named.records()]
        require_some(records, named.table, left_out)
        train, validation = hold_out(
            source.records(),
            records,
            config,
            lambda number: left_out.add(HELD_OUT, source.table.place(number)),
        )
        require_some(train, source.table, left_out)
    return make_corpus(
        [project(record) for record in train],
        [project(record) for record in validation],
        left_out=LeftOut(left_out.findings()),
        contradictory=next(iter(contradictory.findings().values()), Finding()),
    )


def _learnt(record: Record) -> Example:
    return record if isinstance(record, Example) else Example(record.chosen, prompt=record.prompt)


def _pair(record: Record) -> Pair:
    assert isinstance(record, Pair)  # the only format that is read
    return record


def _asked(record: Record) -> Example:
    return _learnt(record) if record.prompt is None else Example("", prompt=record.prompt)
