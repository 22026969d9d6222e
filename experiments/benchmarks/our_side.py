"""abcrl's side of ppo_step.py: the steps of `abcrl ppo --reward abc`, on request.

Run by ppo_step.py, as `python our_side.py SETTINGS` with its settings as JSON.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from side import Meter, open_answers, steps

import abcrl.rl.rollout as rollout_module
from abcrl.config import PpoConfig
from abcrl.data import Prompt
from abcrl.machine import prepare_machine
from abcrl.rl.actors import load_actors
from abcrl.rl.formulas.kl import KlController
from abcrl.rl.metrics import rollout_metrics, update_metrics
from abcrl.rl.sampling.sampler import SharedDraws
from abcrl.rl.scoring.calibration import Calibration
from abcrl.rl.update import Experience, PolicyUpdater, epoch_orders


class GivenLengths(SharedDraws):
    """The same random numbers, but response lengths that the benchmark gives to both sides."""

    lengths: list[int]

    def draw(self, prompts: Any) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ANN401 - as it is there
        """Returns the given lengths as caps, and the prompts' uniforms."""
        _, uniforms = super().draw(prompts)
        return torch.tensor(self.lengths), uniforms


class Trainer:
    """What `abcrl.stages.ppo` holds from one step to the next, without its run folder."""

    def __init__(self, settings: dict[str, Any]) -> None:
        folder = Path(settings["folder"])
        low, high = settings["span"]
        self._config = PpoConfig.model_validate({
            "policy": str(folder / "policy"),
            "reward_model": str(folder / "reward-model"),
            "run": {
                "output": str(folder / "run"),
                "device": settings["device"],
                "threads": settings["threads"],
            },
            "response": {"min_new_tokens": low, "cap_low": low, "cap_high": high},
            "reward": {"mode": "abc"},
            "score": {"center": "none"},
            "ppo": {"batch_size": settings["batch"], "mini_batch_size": settings["mini_batch"]},
        })  # fmt: skip
        config = self._config
        self._actors, _ = load_actors(config, prepare_machine(config.run))
        self._draws = GivenLengths(config.response, seed=config.run.seed, stream="response")
        self._controller = KlController(config.kl)
        self._updater = PolicyUpdater(
            self._actors.policy,
            Accelerator(cpu=settings["device"] == "cpu"),
            config.ppo,
            config.response,
            eos_token_id=self._actors.eos_token_id,
        )
        self.parameters = sum(p.numel() for p in self._actors.policy.parameters())

    def collect(self, request: dict[str, Any]) -> rollout_module.Rollout:
        """Returns the experience of one batch."""
        size = self._config.ppo.batch_size
        first = request["number"] * size
        prompts = [Prompt(first + row, tuple(ids)) for row, ids in enumerate(request["prompts"])]
        self._draws.lengths = request["lengths"]
        return rollout_module.collect_rollout(
            self._actors,
            prompts,
            self._draws,
            self._config,
            kl_coef=self._controller.coef,
            calibration=Calibration(),
        )

    def update(self, rollout: rollout_module.Rollout, number: int) -> None:
        """Trains on it and measures what the run folder is told."""
        algorithm = self._config.ppo
        orders = epoch_orders(
            seed=0, step=number, epochs=algorithm.ppo_epochs, batch=algorithm.batch_size
        )
        result = self._updater.update(Experience.of(rollout), orders)
        row = rollout_metrics(rollout, self._actors, kl_coef=self._controller.coef)
        row |= update_metrics(result)
        self._controller.update(row["objective/kl"], algorithm.batch_size)


def main() -> None:
    """Answers every request with the seconds of its phases."""
    answers = open_answers()
    settings = json.loads(sys.argv[1])
    trainer = Trainer(settings)
    meter = Meter(settings["device"])
    sample = meter.timed("generate", rollout_module.sample_responses)
    rollout_module.sample_responses = sample
    for request in steps(answers, parameters=trainer.parameters, torch=torch.__version__):
        meter.start()
        rollout = trainer.collect(request)
        collected = meter.elapsed()
        trainer.update(rollout, request["number"])
        finished = meter.elapsed()
        generate = meter.spent["generate"]
        answer = {
            "generate": generate,
            "score": collected - generate,
            "update": finished - collected,
            "tokens": int(rollout.responses.lengths.sum()),
            "peak": meter.peak(),
        }
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
