"""What a comparison says: statistics over paired seeds and its summary; trains nothing."""

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
