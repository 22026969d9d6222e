"""Scripts of experiments/, loaded as `python SCRIPT` would find them."""

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture(scope="module")
def load_script() -> Iterator[Callable[[str, str], Any]]:
    """load_script(folder, name): the module, with its neighbours importable."""
    with pytest.MonkeyPatch.context() as patch:

        def load(folder: str, name: str) -> Any:
            patch.syspath_prepend(EXPERIMENTS / folder)
            return importlib.import_module(name)

        yield load
