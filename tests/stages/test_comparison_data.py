"""What ran on other texts is refused where it counts, and nowhere else."""

from contextlib import suppress
from pathlib import Path

import pytest

from abcrl.config import CompareConfig, InputError, plan_cells
from abcrl.data import load_corpus
from abcrl.stages.plan import require_inputs
from abcrl.storage import RunFolder
from tests.stages.comparisons import on


@pytest.fixture
def compared(tiny_runs, tmp_path) -> CompareConfig:
    """A comparison of two arms on a file of the user's: planned, not run."""
    rows = "".join(f"text number {number},{number % 2}\n" for number in range(200))
    (tmp_path / "reviews.csv").write_text(f"text,label\n{rows}", encoding="utf-8")
    data = {"ppo__data__source": str(tmp_path / "reviews.csv"), "ppo__data__limit": None}
    return on(tiny_runs, tmp_path / "compare", seeds=[0], **data)


def leave_run(config: CompareConfig, number: int, texts: str, ending: type[BaseException] | None):
    """Leaves what a cell leaves that has read `texts` and ended so; None: well."""
    cell = plan_cells(config)[number]
    environment = {"fingerprints": {"texts": texts}}
    with (
        suppress(KeyboardInterrupt, RuntimeError),
        RunFolder.create(cell.folder, cell.run, environment),
    ):
        if ending is not None:
            raise ending


def test_a_finished_run_on_other_texts_is_refused(compared):
    leave_run(compared, 1, "0123", ending=None)
    with pytest.raises(InputError) as caught:
        require_inputs(compared, ask_hub=True)
    folder = Path(compared.output) / "cells" / "rlhf" / "seed-0"
    assert str(caught.value).startswith(
        f"ppo.data.source: must hold the texts that {folder} has seen (fingerprint 0123), received"
    )


@pytest.mark.parametrize("ending", [KeyboardInterrupt, RuntimeError])
def test_a_run_that_starts_again_may_have_seen_other_texts(compared, ending):
    leave_run(compared, 0, "0123", ending)
    require_inputs(compared, ask_hub=True)


def test_a_finished_run_on_the_same_texts_is_welcome(compared):
    leave_run(compared, 0, load_corpus(compared.ppo.data, labelled=False).fingerprint, ending=None)
    require_inputs(compared, ask_hub=True)
