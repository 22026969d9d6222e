import pytest

from tests.grid.processes import ROOT


@pytest.fixture(autouse=True)
def _workers_find_the_workload(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
