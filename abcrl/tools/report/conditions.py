"""What the verdicts of a comparison are conditional on: its SFT model and its reward model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from abcrl.storage import read_fingerprints

_MODELS = ("policy", "reward_model")
_SAID = {"policy": "SFT models", "reward_model": "reward models", "texts": "texts"}


@dataclass(frozen=True)
class Conditions:
    """What cells have in common, as far as their environments say it."""

    broken: tuple[str, ...] = ()
    """What they should have in common and have not, a clause each."""
    unknown: int = 0
    """Number of cells that do not say which models they ran on."""

    @property
    def hold(self) -> bool:
        """Whether all is known, and nothing differs."""
        return not self.broken and not self.unknown


def read_conditions(folders: Sequence[Path], unequal: Sequence[str]) -> Conditions:
    """Returns on what the cells that count ran, by the content hashes that they recorded.

    A policy's hash covers its value head, which the seed initialises: whether SFT models are the
    same can be told of cells with the same seed alone.

    Args:
        folders: Of the cells that count.
        unequal: What cells with the same seed do not share, see `Summary.unequal_inputs`.
    """
    recorded = [read_fingerprints(folder) for folder in folders]
    known = [each for each in recorded if each.keys() >= set(_MODELS)]
    broken = [f"cells with the same seed have different {_SAID[name]}" for name in unequal]
    if "reward_model" not in unequal and len({each["reward_model"] for each in known}) > 1:
        broken.append("cells with different seeds have different reward models")
    return Conditions(tuple(broken), unknown=len(recorded) - len(known))
