"""The corpus of a run: texts to learn, preference pairs, or prompts, read from its source."""

from collections.abc import Callable
from typing import TypeVar

from abcrl.config import DataConfig

from . import toy
from .corpus import Corpus, make_corpus
from .division import divide, divide_source
from .formats import LABELLED, PAIRS, PROMPTS, TEXTS, Use, named_columns
from .left_out import LeftOut, Tallies
from .projection import Projection, answered, compared, learnt
from .reading import Reading, require_some
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
        corpus = _load(config, LABELLED if labelled else TEXTS, learnt)
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
        # No review is in two pairs, so that nothing depends on the order of the sides.
        parts = divide(pairs, config, lambda pair: pair.chosen + pair.rejected)
        return make_corpus(*parts, gold_score=toy.gold_score)
    return _load(config, PAIRS, compared)


def load_prompts(config: DataConfig) -> Corpus[Example]:
    """Returns what is answered in PPO: whole texts, which prompts are cut from, or prompts.

    Where the rows have prompts, what answers them is not read: text is "".

    Raises:
        InputError: See `load_corpus`.
    """
    return _load_toy(config) if config.built_in else _load(config, PROMPTS, answered)


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
    examples = [Example(review.text, review.label) for review in reviews]
    train, validation = divide(examples, config, lambda example: example.key)
    return make_corpus(train, validation, gold_score=toy.gold_score, causal_spans=toy.causal_spans)


def _load(config: DataConfig, use: Use, take: Callable[[Record], R]) -> Corpus[R]:
    """Reads and divides the records of a source, and only then takes of each what is needed.

    So whatever they are read for, the same ones are held out and the same drawn.
    """
    tallies = Tallies()
    wanted = named_columns(config.columns)
    source = Reading(open_source(config, wanted), config, use, tallies)
    table = open_validation(config, wanted)
    heldout = None if table is None else Reading(table, config, use, tallies)
    parts = divide_source(source.records(), source, heldout, config)
    projection = Projection(take, config.rows, tallies.left_out)
    train = projection.of(parts.train, parts.tables[0], parts.asked)
    validation = projection.of(parts.heldout, parts.tables[1])
    require_some(train, source)
    return make_corpus(
        train,
        validation,
        left_out=LeftOut(tallies.left_out.findings()),
        kept=tallies.kept.findings(),
    )
