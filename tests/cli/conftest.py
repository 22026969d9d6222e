import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from tests.cli.undisturbed import Undisturbed, run_undisturbed
from tests.grid.processes import Command, listens_to, wait_for

SCRIPT = Path(sys.executable).with_name("abcrl")

Invoke = Callable[..., "Answer"]
Refuse = Callable[..., str]


class Answer:
    """What a command said and how it ended."""

    def __init__(self, code: int, output: str, errors: str, exception: BaseException | None):
        self.code, self.output, self.errors, self.exception = code, output, errors, exception

    @property
    def line(self) -> str:
        """The one line on stderr."""
        [line] = self.errors.splitlines()
        return line


@pytest.fixture(scope="session")
def app() -> Typer:
    """What the installed console script runs."""
    [script] = entry_points(group="console_scripts", name="abcrl")
    application: Typer = script.load()
    return application


@pytest.fixture
def abcrl(app: Typer, tmp_path, monkeypatch) -> Invoke:
    """abcrl("sft", "--dry-run", ...): runs the command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: object) -> Answer:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        raised = None if isinstance(result.exception, SystemExit) else result.exception
        return Answer(result.exit_code, result.stdout, result.stderr, raised)

    return invoke


@pytest.fixture
def refuse(abcrl: Invoke) -> Refuse:
    """refuse("sft", ..., files={}): the line, after checking that it was refused and nothing else.

    The files are written before; none may come or go.
    """

    def refuse(*arguments: object, files: Mapping[str, str] | None = None) -> str:
        for name, text in (files or {}).items():
            Path(name).write_text(text, encoding="utf-8")
        before = sorted(Path().rglob("*"))
        answer = abcrl(*arguments)
        assert answer.code == 2, answer.errors
        assert answer.exception is None
        assert answer.output == ""
        assert sorted(Path().rglob("*")) == before
        assert answer.line.startswith("abcrl: ")
        assert "Traceback" not in answer.line
        return answer.line.removeprefix("abcrl: ")

    return refuse


@pytest.fixture
def start() -> Iterator[Callable[..., Command]]:
    """start("sft", "--config", ...): runs the installed command."""
    commands: list[Command] = []

    def start(*arguments: object, hangup: signal.Handlers = signal.SIG_DFL) -> Command:
        commands.append(Command(SCRIPT, *arguments, hangup=hangup))
        wait_for(lambda: listens_to(commands[-1].process.pid, signal.SIGTERM))
        return commands[-1]

    yield start
    for command in commands:
        command.clean_up()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """A comparison of half a minute, run by the command once."""
    folder = tmp_path_factory.mktemp("undisturbed") / "comparison"
    return run_undisturbed(partial(Command, SCRIPT), folder)
