"""Datasets of the Hugging Face Hub, through the datasets library."""

from collections.abc import Container

import datasets

from abcrl.config import DataConfig, InputError
from abcrl.hub import hub_answers

from .columnar import number_rows
from .tables import Table

_ROWS_AT_A_TIME = 1000


def open_hub_table(
    config: DataConfig, wanted: Container[str] | None = None, *, heldout: bool = False
) -> Table:
    """Returns the rows of a Hub dataset, downloaded or from the library's cache.

    Args:
        config: Its id and configuration, and the names of its splits.
        wanted: Columns that suffice, of those that are there; None: all.
        heldout: Whether it is the split that `validation` names.

    Raises:
        InputError: It cannot be loaded.
    """
    split = (config.validation if heldout else config.split) or "train"
    key = "data.validation" if heldout else "data.source"
    dataset = _load(config, split, key)
    return table_of(dataset, f"{config.source} ({split})", wanted, key=key)


def table_of(
    dataset: datasets.Dataset, name: str, wanted: Container[str] | None, *, key: str
) -> Table:
    """Returns the rows of a loaded dataset."""
    columns = dataset.column_names
    kept = [column for column in columns if wanted is None or column in wanted]
    tables = dataset.select_columns(kept).with_format("arrow").iter(_ROWS_AT_A_TIME)
    rows = number_rows(batch for table in tables for batch in table.to_batches())
    return Table(name, rows, in_lines=False, columns=columns, key=key)


def _load(config: DataConfig, split: str, key: str) -> datasets.Dataset:
    offline = datasets.config.HF_HUB_OFFLINE
    away = offline or not hub_answers()
    try:
        datasets.config.HF_HUB_OFFLINE = away  # then from the cache or not at all, and at once
        return datasets.load_dataset(config.source, config.subset, split=split)
    # datasets raises what its many readers raise: OSError, ValueError, its own and its parsers'.
    except Exception as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        if away:  # the error's own words are about a variable that nobody set
            reason = "no such file here, the Hub cannot be reached, and no copy is in the cache"
        part = f"split {split!r} of " if key == "data.validation" else ""
        raise InputError(
            f"{key}: must be a Hub dataset that can be loaded, received {part}{config.source!r} "
            f"({reason}); check id, subset and split, or give a local file with --dataset"
        ) from None
    finally:
        datasets.config.HF_HUB_OFFLINE = offline
