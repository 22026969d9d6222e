"""Run folders that move: to another machine, to be gone on with there, and back."""

import json
from pathlib import Path

from .checkpoints import replace_config
from .durable import draft_of, remove_folder, sync, write_atomically

_STATUS, _LOCK = "status.json", ".lock"
_RUNNING = "running"


def restate_config(run: Path, config: str) -> None:
    """Has a run folder, and each checkpoint in it, hold the same settings with other paths.

    Args:
        run: A run folder that nobody writes to, or none.
        config: The configuration, as YAML.
    """
    if run.is_dir():
        replace_config(run, config)
        write_atomically(run / "config.yaml", config)  # last: it says that the others are done


def replace_text(file: Path, old: str, new: str) -> None:
    """Replaces every occurrence in a JSON file's strings; nothing happens where there is none."""
    if not file.exists():
        return
    text = file.read_text(encoding="utf-8")
    changed = text.replace(json.dumps(old)[1:-1], json.dumps(new)[1:-1])
    if changed != text:
        write_atomically(file, changed)


def follow_status(run: Path, status: str) -> None:
    """Has a run folder say what the status of the run says elsewhere, as long as it goes on there.

    How it ended is not said before what it has written is here: see `replace_content`.

    Args:
        run: A run folder, held by the caller (`hold_run`).
        status: The content of status.json.
    """
    if json.loads(status).get("state") == _RUNNING:
        write_atomically(run / _STATUS, status)


def draft_place(run: Path) -> Path:
    """Returns where the new content of a run folder is put together, in the folder itself.

    What is left there by a writer that was killed, `sweep` removes, and so does going on with the
    run.
    """
    return draft_of(run / "content")


def replace_content(run: Path, draft: Path) -> None:
    """Replaces what a run folder holds with what `draft`, a folder in it, holds; it is gone then.

    The status comes last: whatever kills the writer, the run is unfinished before, and what it was
    going on from is whole or missing.

    Args:
        run: A run folder, held by the caller (`hold_run`).
        draft: See `draft_place`.
    """
    for path in draft.rglob("*"):
        sync(path)
    new = {path.name for path in draft.iterdir()}
    for path in sorted(run.iterdir()):
        if path.is_dir() and path != draft:
            remove_folder(path)
        elif path.is_file() and path.name not in {*new, _LOCK, _STATUS}:
            path.unlink()
    for path in sorted(draft.iterdir()):
        if path.name != _STATUS:
            path.replace(run / path.name)
    sync(run)
    if _STATUS in new:
        (draft / _STATUS).replace(run / _STATUS)
    draft.rmdir()
    sync(run)
