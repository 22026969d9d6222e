"""A PPO run under way: its steps, and where it stands after each of them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from abcrl.config import PpoConfig, RunFailedError, to_yaml
from abcrl.reporter import Reporter
from abcrl.rl.formulas.kl import KlController, kl_alarm
from abcrl.rl.formulas.learning_rate import learning_rate_at
from abcrl.rl.metrics import rollout_metrics, update_metrics
from abcrl.rl.reference_kl import ReferenceKl
from abcrl.rl.rollout import Rollout, collect_rollout
from abcrl.rl.scoring.calibration import set_value_units
from abcrl.rl.training_state import (
    require_finite_weights,
    restore_training,
    training_tensors,
)
from abcrl.rl.update import Experience, PolicyUpdater, UpdateResult, epoch_orders, make_accelerator
from abcrl.signals import held_back
from abcrl.storage import Checkpoint, RunFolder, last_checkpoint, write_checkpoint

from .ppo_inputs import (
    Inputs,
    calibration_tensors,
    make_evaluator,
    measure_calibration,
    restore_calibration,
    training_draws,
)
from .resume import how_to_go_on

Metrics = dict[str, float]


@dataclass(frozen=True)
class _Position:
    """Where a run stands: with the weights in memory, all that a checkpoint is made of.

    Attributes:
        step: The last step whose update is done.
        kl_coef: The KL coefficient in force.
        statistics: Of the scores.
        streams: Length in bytes of each JSONL file.
        digests: Hash of those that are part of the result.
        row: Of metrics.jsonl, measured and not yet written, as an evaluation may be due; None: it
            is written.
    """

    step: int
    kl_coef: float
    statistics: dict[str, float]
    streams: dict[str, int]
    digests: dict[str, str]
    row: Metrics | None


class Training:
    """The objects that live from the first step to the last."""

    def __init__(
        self,
        config: PpoConfig,
        inputs: Inputs,
        folder: RunFolder,
        reporter: Reporter,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        """Makes them as they are before the first step, or as a checkpoint has them."""
        self._config = config
        self._actors = actors = inputs.actors
        self._folder = folder
        self._reporter = reporter
        self._told_of_cuts = False
        self._prompts, self._draws = training_draws(config, inputs.train)
        self._controller = KlController(config.kl)
        self._updater = PolicyUpdater(
            actors.policy,
            make_accelerator(actors.policy.model.device),
            config.ppo,
            config.response,
            eos_token_id=actors.eos_token_id,
            reference=ReferenceKl.of(actors, config),
        )
        self._reached: _Position | None = None
        if checkpoint is None:
            self._calibration = measure_calibration(config, inputs, folder)
        else:
            self._calibration = restore_calibration(config, inputs, checkpoint)
            self._restore(checkpoint)
        networks = config.networks
        if networks.value_model == "separate" and networks.value_init == "reward_model":
            set_value_units(actors.policy, self._calibration)
        self._evaluator = make_evaluator(config, inputs, self._calibration, reporter)

    def run(self) -> None:
        """Trains up to the configured number of steps.

        Raises:
            RunFailedError: A score, loss or weight became non-finite, or a checkpoint cannot be
                written.
        """
        done = self._begin()
        self._reporter.start("PPO", self._config.steps)
        for step in range(done + 1, self._config.steps + 1):
            try:
                self._train_step(step)
            except RunFailedError as error:
                raise RunFailedError(
                    f"step {step}: {error}{last_checkpoint(self._folder.path)}"
                ) from error

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Writes a checkpoint where the block is interrupted; the interrupt then says so."""
        try:
            yield
        except KeyboardInterrupt as stop:
            try:
                self._write_checkpoint()
            except RunFailedError as error:
                stop.add_note(f"no checkpoint written: {error}{last_checkpoint(self._folder.path)}")
            else:
                if self._reached is not None:
                    stop.add_note(how_to_go_on("ppo", self._folder.path, self._reached.step))
            raise

    def _begin(self) -> int:
        """Finishes what precedes the next step; returns the last one that is done."""
        if self._reached is None:
            evaluation = self._evaluate(step=0)
            row = {"step": 0, "score/offset": self._calibration.score_offset, **evaluation}
            self._folder.append("metrics", [row])
            self._reached = self._position(0)
        elif self._reached.row is not None:
            self._finish_step(self._reached.step, self._reached.row)
        return self._reached.step

    def _train_step(self, step: int) -> None:
        started = time.perf_counter()
        rollout = self._collect(step)
        collected = time.perf_counter()
        with held_back():  # a request to stop has to wait: half an update is no checkpoint
            self._reached = None
            result = self._update(rollout, step)
            finished = time.perf_counter()
            speed = self._record_time(step, rollout, collected - started, finished - collected)
            row = rollout_metrics(rollout, self._actors, kl_coef=self._controller.coef)
            row |= update_metrics(result)
            self._controller.update(row["objective/kl"], self._config.ppo.batch_size)
            self._reached = self._position(step, row)
        alarm = kl_alarm(row["objective/kl"])
        if alarm is not None:
            self._reporter.message(f"step {step}: {alarm}")
        self._tell_of_cuts(step, row)
        self._finish_step(step, row)
        shown = {"score": row["objective/score"], "KL": row["objective/kl"]}
        self._reporter.advance(step, {**shown, "tokens/s": round(speed)})

    def _tell_of_cuts(self, step: int, row: Metrics) -> None:
        """Says, the first time, that the reward model does not read whole responses."""
        share = row.get("score/cut_rate", 0.0)
        if share > 0 and not self._told_of_cuts:
            self._told_of_cuts = True
            self._reporter.message(
                f"step {step}: {share:.1%} of the responses, prompt and template included, are "
                f"longer than the reward model reads; it sees their ends (score/cut_rate)"
            )

    def _finish_step(self, step: int, row: Metrics) -> None:
        """Evaluates where it is time to, and writes what is known of the step."""
        config = self._config
        if step % config.evaluation.interval == 0 or step == config.steps:
            row = {**row, **self._evaluate(step)}
        self._folder.append("metrics", [{"step": step, **row}])
        self._reached = self._position(step)
        if step % config.checkpoint.interval == 0:
            self._write_checkpoint()

    def _position(self, step: int, row: Metrics | None = None) -> _Position:
        return _Position(
            step,
            self._controller.coef,
            self._calibration.statistics(),
            self._folder.stream_sizes(),
            self._folder.stream_digests(),
            row,
        )

    def _write_checkpoint(self) -> None:
        """Writes where the run stands; in the midst of an update it stands nowhere.

        Raises:
            RunFailedError: It stands on weights that are ruined, or the disk takes no checkpoint.
        """
        reached = self._reached
        if reached is None:
            return
        trained = training_tensors(self._actors.policy, self._updater.optimizer)
        advice = "lower ppo.learning_rate or set ppo.max_grad_norm"
        require_finite_weights(trained, advice)
        checkpoint = Checkpoint(
            step=reached.step,
            config=to_yaml(self._config),
            state={
                "kl_coef": reached.kl_coef,
                "statistics": reached.statistics,
                "row": reached.row,
            },
            tensors={**trained, **calibration_tensors(self._calibration)},
            streams=reached.streams,
            digests=reached.digests,
        )
        keep_last = self._config.checkpoint.keep_last
        write_checkpoint(self._folder.path, checkpoint, keep_last=keep_last)

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Puts weights, optimizer and coefficient back; the JSONL files are cut already."""
        restore_training(self._actors.policy, self._updater.optimizer, checkpoint.tensors)
        self._controller.coef = checkpoint.state["kl_coef"]
        self._reached = self._position(checkpoint.step, checkpoint.state["row"])

    def _evaluate(self, step: int) -> Metrics:
        """Returns the held-out metrics and writes the samples, and the time they took."""
        started = time.perf_counter()
        metrics, samples = self._evaluator.evaluate(self._actors)
        took = {"step": step, "evaluation_seconds": time.perf_counter() - started}
        self._folder.append("timings", [took])
        self._folder.append("samples", [{"step": step, **sample} for sample in samples])
        return metrics

    def _collect(self, step: int) -> Rollout:
        batch = self._config.ppo.batch_size
        return collect_rollout(
            self._actors,
            self._prompts.take((step - 1) * batch, batch),
            self._draws,
            self._config,
            kl_coef=self._controller.coef,
            calibration=self._calibration,
        )

    def _update(self, rollout: Rollout, step: int) -> UpdateResult:
        algorithm = self._config.ppo
        orders = epoch_orders(
            seed=self._config.run.seed,
            step=step,
            epochs=algorithm.ppo_epochs,
            batch=algorithm.batch_size,
        )
        return self._updater.update(
            Experience.of(rollout), orders, learning_rate=learning_rate_at(self._config, step)
        )

    def _record_time(
        self, step: int, rollout: Rollout, collecting: float, updating: float
    ) -> float:
        """Writes a row of timings.jsonl; returns response tokens per second."""
        speed = int(rollout.responses.lengths.sum()) / (collecting + updating)
        row = {
            "step": step,
            "rollout_seconds": collecting,
            "update_seconds": updating,
            "tokens_per_second": speed,
        }
        self._folder.append("timings", [row])
        return speed
