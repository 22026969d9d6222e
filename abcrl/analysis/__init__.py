"""What a comparison says: statistics over paired seeds, its summary, its figures; trains nothing.

Figures have to be imported by name (`abcrl.analysis.figures`, `reference_figure`): they alone pay
for matplotlib.
"""

from .collect import Summary, summarise
from .contrasts import Finding, PairedContrast, contrast_arms
from .curves import ArmInfo, CellCurve, FailedCell
from .differences import PairedDifference
from .equivalence import Contrast, Margin
from .summary_files import result_rows, to_json
from .verdicts import say_verdict

__all__ = [
    "ArmInfo",
    "CellCurve",
    "Contrast",
    "FailedCell",
    "Finding",
    "Margin",
    "PairedContrast",
    "PairedDifference",
    "Summary",
    "contrast_arms",
    "result_rows",
    "say_verdict",
    "summarise",
    "to_json",
]
