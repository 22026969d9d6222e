"""The only room that writes a run folder: configuration, metrics, checkpoints, lock, status.

Imports no torch by itself: a comparison's own process looks at runs and has no use for it.
"""

from .checkpoints import (
    Checkpoint,
    checkpoint_place,
    discard_checkpoints,
    drafting,
    last_checkpoint,
    newest_checkpoint,
    read_checkpoint,
    unwritable,
    write_checkpoint,
)
from .durable import sweep, write_atomically
from .environment import describe_code, describe_environment, differing_environment
from .looks import LOOKS, Declared, Earlier, Look, append_look, read_looks, weigh_looks
from .reading import (
    is_ppo_run,
    read_config,
    read_environment,
    read_fingerprints,
    read_last_row,
    read_metrics,
    read_reason,
    read_recorded_status,
    read_rows,
    read_seconds,
    read_status,
)
from .run_folder import STREAMS, RunFolder, hold_run, write_json

__all__ = [
    "LOOKS",
    "STREAMS",
    "Checkpoint",
    "Declared",
    "Earlier",
    "Look",
    "RunFolder",
    "append_look",
    "checkpoint_place",
    "describe_code",
    "describe_environment",
    "differing_environment",
    "discard_checkpoints",
    "drafting",
    "hold_run",
    "is_ppo_run",
    "last_checkpoint",
    "newest_checkpoint",
    "read_checkpoint",
    "read_config",
    "read_environment",
    "read_fingerprints",
    "read_last_row",
    "read_looks",
    "read_metrics",
    "read_reason",
    "read_recorded_status",
    "read_rows",
    "read_seconds",
    "read_status",
    "sweep",
    "unwritable",
    "weigh_looks",
    "write_atomically",
    "write_checkpoint",
    "write_json",
]
