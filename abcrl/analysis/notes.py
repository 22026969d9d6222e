"""What a verdict has to name beside its numbers: whatever else can make one arm look better.

Lambda and the KL that was spent, cells without a result, collapsed runs, models that differ. What
was seen of the comparison before is said by `abcrl.storage.weigh_looks`.
"""

from collections.abc import Sequence
from itertools import groupby
from statistics import fmean

from .cells import CellResult
from .contrasts import PairedContrast
from .curves import ArmInfo, CellCurve

_TEXTS = "texts"


def note_contrast(
    contrast: PairedContrast,
    arms: Sequence[ArmInfo],
    cells: Sequence[CellResult],
    curves: Sequence[CellCurve],
) -> list[str]:
    """Returns what the verdict on a contrast has to name.

    Args:
        contrast: What is judged.
        arms: All arms of the comparison.
        cells: All cells of the comparison.
        curves: Those that count.
    """
    names = (contrast.arm, contrast.baseline)
    sides = [[cell for cell in cells if cell.arm.name == name] for name in names]
    involved = [*sides[0], *sides[1]]
    lambdas = {arm.name: f"{arm.gae_lambda:g}" for arm in arms}
    notes = [f"lambda {' against '.join(dict.fromkeys(lambdas[name] for name in names))}"]
    spent = [_mean_final_kl(side) for side in sides]
    if None not in spent:
        notes.append(f"final KL {spent[0]:.1f} against {spent[1]:.1f}")
    lost = sum(not cell.finished for cell in involved)
    if lost:
        notes.append(f"{lost} of {len(involved)} cells without a result")
    notes += [_say_collapsed(side) for side in sides if any(cell.collapsed for cell in side)]
    unequal = unequal_inputs([curve for curve in curves if curve.arm in names])
    if unequal:
        what = ["models"] if set(unequal) != {_TEXTS} else []
        what += [_TEXTS] if _TEXTS in unequal else []
        notes.append(f"cells with the same seed ran on different {' and '.join(what)}")
    return notes


def unequal_inputs(curves: Sequence[CellCurve]) -> tuple[str, ...]:
    """Returns the names of what cells with the same seed began with and do not have in common."""
    unequal = set()
    ordered = sorted(curves, key=lambda curve: curve.seed)
    for _, group in groupby(ordered, key=lambda curve: curve.seed):
        seen: dict[str, str] = {}
        for curve in group:
            unequal |= {
                name
                for name, digest in curve.inputs.items()
                if seen.setdefault(name, digest) != digest
            }
    return tuple(sorted({name.partition(" ")[0] for name in unequal}))


def _say_collapsed(side: Sequence[CellResult]) -> str:
    collapsed = sum(cell.collapsed for cell in side)
    return f"{side[0].arm.name} collapsed in {collapsed} of {len(side)} runs"


def _mean_final_kl(side: Sequence[CellResult]) -> float | None:
    known = [kl for cell in side if (kl := cell.finals.get("kl_exact")) is not None]
    return fmean(known) if known else None
