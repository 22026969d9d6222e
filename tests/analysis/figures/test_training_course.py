import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from abcrl.analysis.figures.training_course import training_course

ROWS: list[dict[str, Any]] = [
    {"step": 20, "train/loss": 2.0},
    {"step": 40, "train/loss": 1.5, "eval/loss": 1.75, "eval/accuracy": 0.625},
    {"step": 60, "train/loss": 1.25, "eval/loss": 1.5, "eval/accuracy": 0.75},
]


def test_the_course_has_each_loss_at_its_steps_and_leaves_out_what_is_no_number():
    broken: list[dict[str, Any]] = [
        {"step": 80, "train/loss": "low", "eval/loss": math.nan},
        {"train/loss": 1.0},
    ]
    picture = training_course([*ROWS, *broken])
    assert picture is not None
    labels = [str(entry.get_label()) for entry in picture.entries]
    assert labels == ["training loss", "held-out loss", "held-out accuracy"]
    loss, accuracy = picture.panels
    axis = Figure().subplots()
    loss.draw(axis)
    lines = [
        (np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist())
        for line in axis.get_lines()
    ]
    assert lines == [([20, 40, 60], [2.0, 1.5, 1.25]), ([40, 60], [1.75, 1.5])]
    assert accuracy.title == "Accuracy"


def test_of_very_many_rows_some_are_drawn_and_without_any_there_is_no_picture():
    picture = training_course([{"step": n, "train/loss": 1.0} for n in range(8001)])
    assert picture is not None
    assert picture.caption.endswith("Of each 3 rows one is drawn.")
    assert training_course([]) is None
    assert training_course([{"step": 1, "learning_rate": 1.0}]) is None
