"""`abcrl ppo`: the algorithm's numbers and the command's root model."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .base import Group
from .checkpoint import CheckpointConfig
from .data import DataConfig
from .networks import NetworksConfig
from .paths import ModelReference
from .reward import KlConfig, RewardConfig, ScoreConfig
from .run import RunConfig
from .sampling import PromptConfig, ResponseConfig


class AlgorithmConfig(Group):
    """Proximal policy optimisation. Defaults are the paper's effective settings."""

    batch_size: Annotated[int, Field(ge=2)] = 16
    """Responses per PPO step."""
    mini_batch_size: Annotated[int, Field(ge=1)] = 1
    """Responses per optimizer step; must divide batch_size."""
    micro_batch_size: Annotated[int, Field(ge=1)] | None = None
    """Responses per forward and backward pass, must divide mini_batch_size; null: all of them. A
    matter of memory alone: the update is the same."""
    ppo_epochs: Annotated[int, Field(ge=1)] = 4
    """Passes over each batch of responses."""
    learning_rate: Annotated[float, Field(gt=0)] = 1.41e-5
    """Learning rate of Adam, at its highest (see optimizer.schedule)."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Discount per token."""
    gae_lambda: Annotated[float, Field(ge=0, le=1)] = 0.95
    """GAE's lambda. Below 1 a score on the last token reaches early tokens discounted."""
    clip_range: Annotated[float, Field(gt=0)] = 0.2
    """Clip of the probability ratio."""
    value_clip_range: Annotated[float, Field(gt=0)] = 0.2
    """Clip of the value's change."""
    vf_coef: Annotated[float, Field(ge=0)] = 0.1
    """Weight of the value loss."""
    ratio_threshold: Annotated[float, Field(gt=1)] = 10.0
    """A mini-batch whose mean ratio exceeds this is skipped, optimizer step included."""
    max_grad_norm: Annotated[float, Field(gt=0)] | None = None
    """Clip gradients to this norm; null: never (as the paper)."""

    @model_validator(mode="after")
    def _batch_divides(self) -> "AlgorithmConfig":
        if self.batch_size % self.mini_batch_size:
            raise ValueError(
                f"mini_batch_size must divide batch_size ({self.batch_size}), "
                f"received {self.mini_batch_size}"
            )
        if self.micro_batch_size and self.mini_batch_size % self.micro_batch_size:
            raise ValueError(
                f"micro_batch_size must divide mini_batch_size ({self.mini_batch_size}), "
                f"received {self.micro_batch_size}"
            )
        return self


class OptimizerConfig(Group):
    """Course of the learning rate; it changes from one PPO step to the next, not within one."""

    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Course after the warm-up; linear and cosine fall towards 0 at the end of the run."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """PPO steps over which the learning rate rises; must be below steps."""


class EvaluationConfig(Group):
    """Held-out evaluation: fixed prompts, a random stream of its own, the same draws every time."""

    interval: Annotated[int, Field(ge=1)] = 10
    """PPO steps between evaluations; step 0 and the last step are always evaluated."""
    prompts: Annotated[int, Field(ge=2)] = 64
    """Number of held-out prompts."""
    batch_size: Annotated[int, Field(ge=1)] = 64
    """Responses at a time, in evaluation and score calibration; a matter of memory and last
    digits."""
    samples: Annotated[int, Field(ge=0)] = 4
    """How many of the responses are written to samples.jsonl at each evaluation."""


class PpoSettings(Group):
    """Everything about a PPO run but the models it starts from and the folder it writes to."""

    steps: Annotated[int, Field(ge=1)] = 150
    """PPO steps, exactly this many."""
    data: DataConfig = DataConfig()
    prompt: PromptConfig = PromptConfig()
    response: ResponseConfig = ResponseConfig()
    reward: RewardConfig = RewardConfig()
    score: ScoreConfig = ScoreConfig()
    kl: KlConfig = KlConfig()
    ppo: AlgorithmConfig = AlgorithmConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    networks: NetworksConfig = NetworksConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()

    @model_validator(mode="after")
    def _warmup_ends(self) -> Self:
        if self.optimizer.warmup_steps >= self.steps:
            raise ValueError(
                f"optimizer.warmup_steps must be below steps ({self.steps}), received "
                f"{self.optimizer.warmup_steps}"
            )
        return self

    def require_undiscounted(self) -> None:
        """Refuses a discount with a mode that spreads the score: the return would change.

        Raises:
            ValueError: gamma is below 1 and `reward.allow_discounting` is not set.
        """
        dense = self.reward.effective_beta not in (None, 0.0)
        if dense and self.ppo.gamma < 1 and not self.reward.allow_discounting:
            raise ValueError(
                f"ppo.gamma must be 1 with reward mode {self.reward.mode} (spreading would change "
                f"the return), received {self.ppo.gamma}; set reward.allow_discounting to do it"
            )


class PpoConfig(PpoSettings):
    """Train a policy with PPO against a reward model."""

    policy: ModelReference
    """SFT model to start from (--policy): a local folder or a Hub id."""
    reward_model: ModelReference
    """Reward model (--reward-model): a local folder or a Hub id."""
    run: RunConfig

    @model_validator(mode="after")
    def _dense_rewards_are_not_discounted(self) -> "PpoConfig":
        self.require_undiscounted()
        return self
