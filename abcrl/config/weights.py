"""What kind of model a checkpoint holds, told from its weights' names: nothing is loaded.

Without torch, so that a reward model can be refused before anything else has started.
"""

import json
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Where transformers looks for weights, in its order; an index names the shards."""

# What the safetensors library accepts.
_LONGEST_HEADER = 100_000_000


def find_weights(folder: Path) -> Path | None:
    """Returns the file that a folder's weights are read from, or their index; None without any."""
    return next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)


def holds_value_head(file: Path) -> bool:
    """Whether a checkpoint has weights of a `v_head`, the head of RLHF's first reward models.

    Args:
        file: One of `WEIGHT_FILES`. A .bin is looked through, not unpickled.

    Returns:
        False also for a damaged file: whoever loads it will say what is wrong.
    """
    try:
        return any(f".{name}".rpartition(".v_head.")[1] for name in _names(file))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, zipfile.BadZipFile):
        return False


def _names(file: Path) -> Iterator[str]:
    """Yields the names of all weights; of a .bin also other words that stand in its pickle."""
    if file.suffix == ".json":
        yield from json.loads(file.read_text(encoding="utf-8"))["weight_map"]
    elif file.suffix == ".safetensors":
        with file.open("rb") as stream:
            # The format: the header's length in 8 bytes, the header as JSON, the numbers.
            length = int.from_bytes(stream.read(8), "little")
            yield from json.loads(stream.read(min(length, _LONGEST_HEADER)))
    elif zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            [record] = [name for name in archive.namelist() if name.endswith("data.pkl")]
            with archive.open(record) as stream:
                yield from _words(stream)
    else:
        with file.open("rb") as stream:
            for _ in range(4):  # torch before 1.6: magic number, version, system, then the weights
                yield from _words(stream)


def _words(pickled: IO[bytes]) -> Iterator[str]:
    return (word for _, word, _ in pickletools.genops(pickled) if isinstance(word, str))
