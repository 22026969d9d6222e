"""Datasets of the Hugging Face Hub, through the datasets library."""

from collections.abc import Iterator
from typing import Any

import datasets

from abcrl.config import DataConfig, InputError
from abcrl.hub import hub_answers

from .records import Table


def open_hub_table(config: DataConfig) -> Table:
    """Returns the rows of a Hub dataset, downloaded or from the library's cache.

    Raises:
        InputError: It cannot be loaded.
    """
    split = config.split or "train"
    name = f"{config.source} ({split})"
    offline = datasets.config.HF_HUB_OFFLINE
    away = offline or not hub_answers()
    try:
        datasets.config.HF_HUB_OFFLINE = away  # then from the cache or not at all, and at once
        dataset = datasets.load_dataset(config.source, config.subset, split=split)
    # datasets raises what its many readers raise: OSError, ValueError, its own and its parsers'.
    except Exception as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        if away:  # the error's own words are about a variable that nobody set
            reason = "no such file here, the Hub cannot be reached, and no copy is in the cache"
        raise InputError(
            f"data.source: must be a Hub dataset that can be loaded, received {config.source!r} "
            f"({reason}); check id, subset and split, or give a local file with --dataset"
        ) from None
    finally:
        datasets.config.HF_HUB_OFFLINE = offline
    columns = dataset.column_names
    wanted = [column for column in (config.text_column, config.label_column) if column in columns]
    return Table(name, _rows(dataset.select_columns(wanted)), in_lines=False, columns=columns)


def _rows(dataset: datasets.Dataset) -> Iterator[tuple[int, dict[str, Any]]]:
    yield from enumerate(dataset, start=1)
