"""The run folder here of a task that runs on another machine."""

import shutil
from contextlib import ExitStack
from pathlib import Path

from abcrl.storage import hold_run
from abcrl.storage.durable import sweep
from abcrl.storage.moving import draft_place, follow_status, replace_content

from .node import News
from .shipping import Part, write_part
from .tasks import Task


class LocalCopy:
    """Follows the run while it is under way, and becomes it when it has come back.

    It is locked like the folder of a run that is computed here; without the content that came back
    whole, it is the folder of a run that was killed.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._held = ExitStack()
        self._open = False
        self._draft: Path | None = None

    def follow(self, news: News) -> None:
        """Writes what the task has written."""
        if news.log:
            self.log(news.part.data)
            return
        folder = self._folder()
        if news.part.name.endswith(".jsonl"):
            write_part(folder, news.part)
        else:
            follow_status(folder, news.part.data.decode())

    def log(self, data: bytes) -> None:
        """Appends to the task's log."""
        if self._task.log is not None:
            self._task.log.parent.mkdir(parents=True, exist_ok=True)
            with self._task.log.open("ab") as file:
                file.write(data)

    def receive(self, part: Part) -> None:
        """Takes a part of what the run folder holds at the end."""
        if self._draft is None:
            self._draft = draft_place(self._folder())
            self._draft.mkdir()
        write_part(self._draft, part)

    def complete(self) -> None:
        """Puts what was received, all of it now, in place."""
        if self._draft is not None:
            replace_content(self._folder(), self._draft)
            self._draft = None
        self.close()

    def close(self) -> None:
        """Leaves the folder as it is; a part of the content is no content."""
        if self._draft is not None:
            shutil.rmtree(self._draft, ignore_errors=True)
            self._draft = None
        self._held.close()
        self._open = False

    def _folder(self) -> Path:
        """The run folder, made and held when there is something to write."""
        files = self._task.files
        if files is None:
            raise ValueError(f"task {self._task.key!r} has written files, and told of none")
        if not self._open:
            files.writes.mkdir(parents=True, exist_ok=True)
            self._held.enter_context(hold_run(files.writes))
            self._open = True
            sweep(files.writes)
            files.restate(files.writes, self._task.args)
        return files.writes
