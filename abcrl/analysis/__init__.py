"""What a comparison says: statistics over paired seeds, its summary, its figures; trains nothing.

Figures have to be imported by name (`abcrl.analysis.figures`, `reference_figure`): they alone pay
for matplotlib.
"""

from .collect import Summary, result_rows, summarise, to_json
from .contrasts import Finding, PairedContrast, contrast_arms
from .curves import ArmInfo, CellCurve, FailedCell
from .equivalence import Contrast, Margin
from .verdicts import say_verdict

__all__ = [
    "ArmInfo",
    "CellCurve",
    "Contrast",
    "FailedCell",
    "Finding",
    "Margin",
    "PairedContrast",
    "Summary",
    "contrast_arms",
    "result_rows",
    "say_verdict",
    "summarise",
    "to_json",
]
