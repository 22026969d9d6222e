"""What a comparison says: statistics over paired seeds, its summary, its figures; trains nothing.

Figures have to be imported by name (`abcrl.analysis.figures`, `reference_figure`): they alone pay
for matplotlib.
"""

from .collect import Summary, result_rows, summarise, to_json
from .contrasts import Finding, PairedContrast, contrast_arms, say_verdict
from .curves import ArmInfo, CellCurve, FailedCell

__all__ = [
    "ArmInfo",
    "CellCurve",
    "FailedCell",
    "Finding",
    "PairedContrast",
    "Summary",
    "contrast_arms",
    "result_rows",
    "say_verdict",
    "summarise",
    "to_json",
]
