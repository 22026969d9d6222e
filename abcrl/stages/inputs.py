"""What a stage reads before it does anything."""

from abcrl.config import DataConfig
from abcrl.data import Corpus, load_corpus

from .reporter import Reporter


def read_corpus(config: DataConfig, reporter: Reporter, *, labelled: bool = False) -> Corpus:
    """Returns the corpus, and tells what was left out of it.

    Raises:
        InputError: See `load_corpus`.
    """
    corpus = load_corpus(config, labelled=labelled)
    if corpus.blank:
        reporter.message(f"data: {corpus.blank} texts left out, as nothing is in them")
    return corpus
