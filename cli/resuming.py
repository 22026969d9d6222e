"""Options of the commands that go on with a run, and where its configuration comes from."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from abcrl.config.base import Group

ResumableOutputOption = Annotated[
    str | None,
    typer.Option(
        "--output",
        metavar="FOLDER",
        help="Run folder; must not exist yet, unless a run in it is resumed.",
    ),
]
ResumeOption = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Go on with the run in FOLDER from its last checkpoint, with its configuration "
        "unless a file is given; it ends as it would have ended, to the byte.",
    ),
]
AllowInexactOption = Annotated[
    bool,
    typer.Option(
        "--allow-inexact",
        help="When resuming: go on on another machine or with other versions too, though the "
        "last digits will differ.",
    ),
]
TrainingCheckpointOption = Annotated[
    int | None,
    typer.Option(
        "--checkpoint-interval", help="Optimizer steps between checkpoints. [default: 200]"
    ),
]


def require_resume(*, resume: bool, allow_inexact: bool) -> None:
    """Refuses --allow-inexact where nothing is resumed.

    Raises:
        InputError: It names the flag.
    """
    from abcrl.config import InputError

    if allow_inexact and not resume:
        raise InputError("--allow-inexact: must come with --resume, received without; add --resume")


def saved_config(
    output: str | None, root: "type[Group]", kind: str, *, needed: bool
) -> Path | None:
    """Returns what the run in a folder was configured with; None where there is none.

    Args:
        output: The folder, as it was given.
        root: The command's root model.
        kind: What its runs are called, e.g. "a PPO run".
        needed: Whether nothing else says what to run.

    Raises:
        InputError: There is none, and it is needed; or it is another command's.
    """
    from abcrl.config import InputError, read_yaml

    if output is None:
        return None
    folder = Path(output).expanduser()
    file = folder / "config.yaml"
    if not file.is_file():
        if needed:
            raise InputError(
                f"output: must hold a run to go on with, received {folder}, where there is none; "
                f"correct it, or say with --config or flags what to run"
            )
        return None
    keys = read_yaml(file).keys()
    required = {name for name, field in root.model_fields.items() if field.is_required()}
    if not required <= keys <= root.model_fields.keys():
        raise InputError(
            f"output: must hold {kind}, received {folder}, which holds something else; choose "
            f"another --output"
        )
    return file
