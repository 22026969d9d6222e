"""Nothing that stands where a comparison would write is written over."""

import shutil
from pathlib import Path

import pytest

from abcrl.config import InputError
from abcrl.reporter import SilentReporter
from abcrl.stages.compare import run_compare
from abcrl.stages.comparison_folder import require_own_folders
from abcrl.storage import LOOKS
from tests.tools.report.reported import configure, write_comparison

RUNS = {"cells", "models"}
OURS = {"config.yaml", ".lock"}


def test_whatever_a_comparison_leaves_is_left_alone_in_a_folder_of_somebody_else(
    tmp_path, tiny_tokenizer
):
    config = configure(tmp_path / "runs", sweep={"kl.coef": [0.1, 0.2]}, seeds=list(range(7)))
    write_comparison(config, tiny_tokenizer)
    run_compare(config, SilentReporter())
    left = {path.name: path for path in Path(config.output).iterdir()}
    (tmp_path / "against-imdb.png").touch()
    left["against-imdb.png"] = tmp_path / "against-imdb.png"
    assert {LOOKS, "report.html", "sweep-kl.coef.svg", "paired-differences.png"} <= left.keys()
    for name in left.keys() - RUNS - OURS:
        folder = tmp_path / "mine"
        folder.mkdir()
        (shutil.copytree if left[name].is_dir() else shutil.copy)(left[name], folder / name)
        with pytest.raises(InputError, match="output: must be new or hold a comparison"):
            require_own_folders(config.replace(output=str(folder)))
        shutil.rmtree(folder)


def test_other_files_may_stand_beside_a_comparison(tmp_path):
    config = configure(tmp_path / "mine")
    (tmp_path / "mine").mkdir()
    for name in ("holiday.png", "thesis.txt", "sweep.svg", "results.csv.bak"):
        (tmp_path / "mine" / name).touch()
    require_own_folders(config)
