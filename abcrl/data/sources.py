"""Where the rows of a configuration are: a file or a Hub dataset, and what is held out."""

from collections.abc import Container
from pathlib import Path

from abcrl.config import DataConfig

from .files import open_file, require_file
from .tables import Table


def require_source(config: DataConfig) -> None:
    """Refuses a file that cannot be read, before anything is loaded; a Hub id passes.

    Raises:
        InputError: There is no such file.
    """
    if Path(config.source).is_absolute():
        require_file(Path(config.source))
    if config.validation_file is not None:
        require_file(config.validation_file, "data.validation")


def open_source(config: DataConfig, wanted: Container[str] | None = None) -> Table:
    """Returns the rows of a source that is not built in.

    Args:
        config: The source.
        wanted: Columns that suffice, of those that are there; None: all.

    Raises:
        InputError: It cannot be read, now or when its rows are taken.
    """
    if not config.on_hub:
        return open_file(Path(config.source), wanted)
    from .hub import open_hub_table  # its library takes a second to import

    return open_hub_table(config, wanted)


def open_validation(config: DataConfig, wanted: Container[str] | None = None) -> Table | None:
    """Returns the rows that are held out, likewise; None where no source of theirs is named.

    Raises:
        InputError: They cannot be read.
    """
    if config.validation_file is not None:
        return open_file(config.validation_file, wanted, key="data.validation")
    if config.validation is None:
        return None
    from .hub import open_hub_table

    return open_hub_table(config, wanted, heldout=True)
