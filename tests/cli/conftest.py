from collections.abc import Callable
from importlib.metadata import entry_points

import pytest
from typer import Typer
from typer.testing import CliRunner

Invoke = Callable[..., "Answer"]


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
