"""The only room that writes a run folder: configuration, metrics, samples, lock, status."""

from .environment import describe_environment
from .run_folder import (
    RunFolder,
    read_config,
    read_fingerprints,
    read_last_row,
    read_reason,
    read_rows,
    read_status,
    write_atomically,
    write_json,
)

__all__ = [
    "RunFolder",
    "describe_environment",
    "read_config",
    "read_fingerprints",
    "read_last_row",
    "read_reason",
    "read_rows",
    "read_status",
    "write_atomically",
    "write_json",
]
