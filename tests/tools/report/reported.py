"""Folders to report on, written as commands write them, but by hand: a second's work, no model."""

from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from abcrl.analysis import ArmInfo, CellCurve, FailedCell, summarise
from abcrl.analysis.comparison import Comparison
from abcrl.config import Cell, CompareConfig, RunFailedError, plan_cells, to_yaml, validate
from abcrl.storage import RunFolder, write_atomically
from abcrl.tools.report.contents import Report
from abcrl.tools.report.samples import Group, Sample, Samples, Token

FINGERPRINTS = {"texts": "aa", "policy": "bb", "reward_model": "cc"}
ENVIRONMENT = {"device": "cpu", "versions": {"torch": "2.0"}, "fingerprints": FINGERPRINTS}
ARMS = [{"name": name, "reward": {"mode": name}} for name in ("abc", "rlhf")]


def configure(folder: Path, **changes: Any) -> CompareConfig:
    """A comparison on models that exist already, in the folder's `models`."""
    values = {
        "output": str(folder),
        "arms": ARMS,
        "seeds": [0, 1],
        "sft": None,
        "train_rm": None,
        "policy": str(folder / "models" / "sft" / "final"),
        "reward_model": str(folder / "models" / "reward-model" / "final"),
        "ppo": {"steps": 4},
    }
    return validate(CompareConfig, {**values, **changes})


def write_comparison(
    config: CompareConfig,
    tokenizer: PreTrainedTokenizerBase,
    *,
    left_out: Sequence[str] = (),
    failed: Sequence[str] = (),
) -> list[Cell]:
    """Writes the comparison's folder; returns its cells.

    Args:
        config: The comparison.
        tokenizer: The policy's.
        left_out: Keys of cells that have not begun.
        failed: Keys of cells that fail at step 2.
    """
    folder = Path(config.output)
    folder.mkdir()
    write_atomically(folder / "config.yaml", to_yaml(config))
    assert config.policy is not None
    tokenizer.save_pretrained(config.policy)
    cells = plan_cells(config)
    for cell in cells:
        if cell.key not in left_out:
            write_cell(cell, tokenizer, fails=cell.key in failed)
    return cells


def write_cell(
    cell: Cell,
    tokenizer: PreTrainedTokenizerBase,
    *,
    fails: bool = False,
    environment: Mapping[str, object] = ENVIRONMENT,
) -> None:
    """Writes a cell whose score rises by a tenth a step, faster with a larger seed."""
    run = RunFolder.create(cell.folder, cell.run, environment)
    if fails:
        with pytest.raises(RunFailedError), run:
            raise RunFailedError("step 2: <b>loss</b> is nan")
        return
    with run:
        for step in range(5):
            score = (0.1 + 0.01 * cell.seed) * step * (2 if cell.arm.name.startswith("abc") else 1)
            row = {"step": step, "eval/score": score, "eval/kl_exact": 0.5 * step}
            run.append("metrics", [row])
            run.append("samples", [sample_row(tokenizer, step, n) for n in range(2)])


def sample_row(tokenizer: PreTrainedTokenizerBase, step: int, number: int) -> dict[str, Any]:
    """A row of samples.jsonl, credit rising from token to token."""
    response = f" The acting was gööd at step {step}."
    ids = tokenizer(response).input_ids
    weights = [place + 1 for place in range(len(ids))]
    credit = [weight / sum(weights) for weight in weights]
    return {
        "step": step,
        "prompt_index": number,
        "prompt": f"Prompt {number}",
        "response": response,
        "prompt_ids": tokenizer(f"Prompt {number}").input_ids,
        "response_ids": ids,
        "score": 2.0,
        "score_offset": 0.5,
        "credit": credit,
        "token_scores": [1.5 * share for share in credit],
    }


def report_on(text: str, *, cut: Sequence[int] = ()) -> Report:
    """A report without a figure in which a text stands wherever foreign text can.

    Args:
        text: The text.
        cut: Places at which the response is cut into tokens; none: it cannot be cut.
    """
    arm = ArmInfo("abc", "abc", 0.8, 0.95)
    failed = [FailedCell("abc", 0, "failed", text)]
    edges = [0, *sorted(min(place, len(text)) for place in cut), len(text)]
    pieces = [text[start:end] for start, end in pairwise(edges)]
    tokens = tuple(Token(piece, 0.1, -0.2) for piece in pieces) if cut else ()
    sample = Sample(0, 4, 1.0, text, tokens)
    return Report(
        title=text,
        folder=Path("/folder"),
        command="compare",
        found=Comparison([arm], list[CellCurve](), summarise([arm], [], [], failed)),
        settings=(),
        stages=(),
        facts=(),
        samples=Samples((Group("last", 0, 0, text, (sample,)),), 1, 1),
    )


class Page(HTMLParser):
    """What a page consists of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        """Of every element, with the names of its attributes."""
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.tables: dict[str, list[list[str]]] = {}
        """Rows of cells of each table, by the label of the box around it; of several, the last."""
        self._rows: list[list[str]] = []
        self._open: list[tuple[str, str]] = []
        self._texts: list[tuple[tuple[tuple[str, str], ...], str]] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.tags.append(" ".join([tag, *named]))
        self.attributes += named.items()
        if "id" in named:
            self.ids.append(named["id"])
        if named.get("class") == "box":
            self._rows = self.tables[named["aria-label"]] = []
        if tag == "tr":
            self._rows.append([])
        if tag in {"th", "td"}:
            self._rows[-1].append("")
        if tag not in {"meta", "link", "br"}:
            self._open.append((tag, named.get("class", "")))

    def handle_endtag(self, tag: str) -> None:
        opened, _ = self._open.pop()
        assert opened == tag

    def handle_data(self, data: str) -> None:
        if any(tag in {"th", "td"} for tag, _ in self._open):
            self._rows[-1][-1] += data
        self._texts.append((tuple(self._open), data))

    def text_of(self, name: str) -> str:
        """The text in all elements of a tag, or of a class."""
        return "".join(
            data
            for path, data in self._texts
            if any(name == tag or name in classes.split() for tag, classes in path)
        )

    def has(self, tag: str) -> bool:
        return any(one.split()[0] == tag for one in self.tags)
