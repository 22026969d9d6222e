"""From flags, `--set` and file to the configuration of a command; `--dry-run` ends here."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

if TYPE_CHECKING:
    from abcrl.config.base import Group

G = TypeVar("G", bound="Group")


def resolve(  # noqa: PLR0913 - one parameter per source of a setting
    root: type[G],
    *,
    file: Path | None,
    assignments: Sequence[str] | None,
    flags: Mapping[str, object],
    data: Mapping[str, object],
    defaults: Mapping[str, object] | None = None,
    dry_run: bool = False,
) -> G:
    """Returns the validated configuration; with `dry_run` prints it and ends the command."""
    from abcrl.config import load_config

    resolved = load_config(
        root,
        file=file,
        assignments=assignments or (),
        flags=flags,
        data=data,
        defaults=defaults,
    )
    if dry_run:
        end_dry_run(resolved)
    return resolved


def end_dry_run(config: "Group", plan: Iterable[str] = ()) -> None:
    """Refuses data that are not there, else prints configuration and plan and ends the command."""
    from abcrl.config import DataConfig
    from abcrl.data import require_source

    source = getattr(config, "data", None)
    if isinstance(source, DataConfig):
        require_source(source)
    print_config(config, plan)


def print_config(config: "Group", plan: Iterable[str] = ()) -> None:
    """Prints the whole configuration as YAML, the plan as comments, and ends the command."""
    from abcrl.config import to_yaml

    typer.echo(to_yaml(config), nl=False)
    for line in plan:
        typer.echo(f"# {line}")
    raise typer.Exit
