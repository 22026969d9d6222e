"""The figures of the paper's curves, from the released numbers."""

import numpy as np
import pytest
from matplotlib.image import imread

FIGURES = ("imdb", "tldr", "openllama", "beta-sweep", "generation-length", "kl-tradeoff")


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("paper", "plot_curves")


def test_running_means_stand_in_the_middle_of_their_steps(script):
    steps, means = script.smooth(np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 16.0]]))
    assert steps.tolist() == [3, 4]
    assert means.tolist() == [[3.0, 6.0]]


def test_shorter_runs_are_filled_up(script):
    table = script.table_of(script.runs_of(script.read("tldr"), "rlhf"))
    assert table.shape == (5, 500)
    assert np.isfinite(table).sum(axis=1).tolist() == [201, 201, 201, 330, 500]


def test_every_figure_is_written_and_beside_the_script(script, tmp_path):
    script.main(["--output", str(tmp_path)])
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == sorted(f"{name}.png" for name in FIGURES)
    for name in written:
        picture = imread(tmp_path / name)
        assert picture.shape == imread(script.HERE / name).shape
        assert picture.shape[1] >= 1500
