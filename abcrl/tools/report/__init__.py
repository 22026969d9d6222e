"""The report of a comparison or a run: one HTML page that needs nothing else."""

from .writing import write_report

__all__ = ["write_report"]
