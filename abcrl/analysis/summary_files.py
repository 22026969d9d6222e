"""A summary as results.csv and summary.json hold it."""

from collections.abc import Mapping
from dataclasses import is_dataclass
from enum import Enum

from .collect import ENDPOINT, Summary
from .contrasts import PairedContrast

_SHARED = "one SFT model and one reward model, which all cells share; others may say otherwise"
_SEVERAL = "{} reward models: cells with the same seed share one, all cells do not"
_UNEQUAL = "several models or texts: cells with the same seed differ in {}"


def result_rows(summary: Summary) -> list[dict[str, str | int | float | None]]:
    """Returns results.csv: one row for each cell, all with the same columns."""
    finals = dict.fromkeys(name for cell in summary.cells for name in cell.finals)
    return [
        {
            "arm": cell.arm.name,
            "mode": cell.arm.mode,
            "beta": cell.arm.beta,
            "gae_lambda": cell.arm.gae_lambda,
            "seed": cell.seed,
            "status": cell.status,
            "auc": cell.auc,
            "collapsed": cell.collapsed,
            **{f"final_{name}": cell.finals.get(name) for name in finals},
            "reason": cell.reason,
        }
        for cell in summary.cells
    ]


def to_json(summary: Summary) -> dict[str, object]:
    """Returns summary.json: plain dicts, lists, strings, finite numbers and None."""
    return {
        "endpoint": ENDPOINT,
        "conditional_on": _say_condition(summary),
        "baseline": {
            "score": summary.baseline_score,
            "gold_score": summary.baseline_gold_score,
        },
        "cells": len(summary.cells),
        "failed": [
            {"arm": cell.arm.name, "seed": cell.seed, "status": cell.status, "reason": cell.reason}
            for cell in summary.failed
        ],
        "arms": [
            {
                **_parts(one.arm),
                "seeds": list(one.seeds),
                "failed": one.failed,
                "collapsed": list(one.collapsed),
                "auc": to_plain(one.auc),
                **{f"final_{name}": to_plain(spread) for name, spread in one.finals.items()},
            }
            for one in summary.arms
        ],
        "baselines": dict(summary.baselines),
        "against_baseline": to_plain(list(summary.differences.values())),
        "contrasts": [
            _judged(contrast, verdict)
            for contrast, verdict in zip(summary.contrasts, summary.verdicts, strict=True)
        ],
        "equal_kl": to_plain(summary.equal_kl),
        "arrivals": to_plain(summary.arrivals),
    }


def to_plain(value: object) -> object:
    """Returns a value as JSON writes it: dataclasses and named tuples as dicts, others as they are.

    As a list a named tuple would lose what its parts are.
    """
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) or hasattr(value, "_asdict"):
        return _parts(value)
    if isinstance(value, Mapping):
        return {key: to_plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(one) for one in value]
    return value


def _parts(value: object) -> dict[str, object]:
    name_parts = getattr(value, "_asdict", None)
    parts: dict[str, object] = vars(value) if name_parts is None else name_parts()
    return {name: to_plain(one) for name, one in parts.items()}


def _judged(contrast: PairedContrast, verdict: str) -> dict[str, object]:
    row = {**_parts(contrast), "verdict": verdict}
    if contrast.equivalence is not None:
        shown = contrast.equivalence.shown
        row["equivalence"] = {**_parts(contrast.equivalence), "shown": shown}
    return row


def _say_condition(summary: Summary) -> str:
    if summary.unequal_inputs:
        return _UNEQUAL.format(", ".join(summary.unequal_inputs))
    return _SEVERAL.format(summary.reward_models) if summary.reward_models > 1 else _SHARED
