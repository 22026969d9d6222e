"""What a reward model can learn from: labelled texts, or pairs."""

from collections.abc import Sequence
from typing import Final, Protocol

from torch import Tensor
from transformers import PreTrainedModel

from abcrl.analysis.quality.credit_spread import CreditSpread
from abcrl.analysis.quality.preference_quality import PreferenceQuality
from abcrl.analysis.quality.reward_quality import RewardModelQuality
from abcrl.data import Example
from abcrl.models import RewardModel
from abcrl.supervised.texts import Features, TextDataset
from abcrl.supervised.trainer import ComputeLoss

from .classification import Classification
from .preferences import Preferences

Quality = RewardModelQuality | PreferenceQuality
"""What a finished reward model says of itself."""


class Objective(Protocol):
    """What a reward model is trained on and judged by, once its texts are tokens."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the model's outputs."""
        ...

    @property
    def dataset(self) -> TextDataset:
        """What is trained on."""
        ...

    @property
    def examples(self) -> Sequence[Example]:
        """Where it comes from; of a pair the chosen side."""
        ...

    @property
    def loss(self) -> ComputeLoss | None:
        """What training lowers; None: the model's own."""
        ...

    def collate(self, rows: Sequence[Features]) -> dict[str, Tensor]:
        """Returns a batch of the dataset's rows."""
        ...

    def heldout_loss(self, model: PreTrainedModel) -> float:
        """Returns the mean loss on held-out texts; the model is in eval mode afterwards."""
        ...

    def good_rows(self, count: int) -> list[list[int]]:
        """Returns the ids of chosen or positive texts to train on, at most so many."""
        ...

    def measure(self, reward_model: RewardModel) -> Quality:
        """Returns how good the reward model is on held-out texts."""
        ...

    def spread_of_credit(self, reward_model: RewardModel) -> CreditSpread:
        """Returns how ABC credit spreads over held-out texts.

        Raises:
            CaptureError: The model's attention cannot be captured.
        """
        ...


OBJECTIVES: Final[dict[str, type[Classification] | type[Preferences]]] = {
    "classifier": Classification,
    "bradley-terry": Preferences,
}
"""By their name in the configuration."""
