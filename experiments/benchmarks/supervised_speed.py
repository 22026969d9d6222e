"""What sft and train-rm cost beside a bare transformers.Trainer on the same batches.

Both sides train the same network on the same rows of token ids, in one process and in turns: abcrl
with rows of metrics, checkpoints and its own loss, the bare side with Trainer's defaults, writing
nothing. They end in the same weights, or the program ends.
Run: python supervised_speed.py --help
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
import transformers
from arguments import count
from supervised_workload import Rows, collate, make_network
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

from abcrl.config import SftConfig, TrainRmConfig, load_config, stream_seed
from abcrl.reporter import SilentReporter
from abcrl.storage import RunFolder
from abcrl.supervised.trainer import classifier_loss, train

STAGES: Final = ("sft", "train-rm")
SIDES: Final = ("abcrl", "trainer")
_LOG_INTERVAL: Final = 20

Collate = Callable[[Sequence[Mapping[str, Any]]], dict[str, torch.Tensor]]


class Timing(NamedTuple):
    """One run of one side."""

    seconds: float
    """From the end of the first step to that of the last."""
    whole: float
    """Of the whole call, with all that precedes and follows the steps."""
    tokens: int
    """Read in the steps after the first."""

    @property
    def speed(self) -> float:
        """Tokens per second."""
        return self.tokens / self.seconds


@dataclass(frozen=True)
class Comparison:
    """Both sides of a stage, turn by turn."""

    stage: str
    timings: dict[str, list[Timing]]

    def speed(self, side: str) -> float:
        """Median over the turns of tokens per second."""
        return statistics.median(one.speed for one in self.timings[side])

    def ratios(self, seconds: Callable[[Timing], float]) -> list[float]:
        """Of each turn, abcrl's seconds by the bare side's."""
        pairs = zip(self.timings["abcrl"], self.timings["trainer"], strict=True)
        return [seconds(ours) / seconds(theirs) for ours, theirs in pairs]


class Clock:
    """Reads the time at the end of every step.

    On a CPU it is the process's processor time, which other processes do not disturb.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self.ends: list[float] = []

    def read(self) -> float:
        """Returns seconds."""
        if self._device == "cuda":
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()


class Stepping(SilentReporter, TrainerCallback):
    """Tells the clock of each step: to abcrl a reporter, to Trainer a callback."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def advance(self, done: int, numbers: Mapping[str, float]) -> None:  # noqa: ARG002
        """A step of abcrl's is done."""
        self._clock.ends.append(self._clock.read())

    def on_step_end(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401, ARG002
        """A step of Trainer's is done."""
        self._clock.ends.append(self._clock.read())


def configure(stage: str, folder: Path, settings: argparse.Namespace) -> SftConfig | TrainRmConfig:
    """Returns abcrl's configuration of a run in a folder."""
    flags = {
        "run.output": str(folder),
        "run.device": settings.device,
        "training.max_steps": settings.steps,
        "training.batch_size": settings.batch,
        "training.max_length": settings.length,
        "training.log_interval": _LOG_INTERVAL,
        "checkpoint.interval": settings.checkpoint_interval,
    }
    if stage == "sft":
        return load_config(SftConfig, flags={**flags, "model.context_length": settings.length})
    return load_config(TrainRmConfig, flags={**flags, "model": "some/model"})


def run_abcrl(
    network: PreTrainedModel, rows: Rows, batch: Collate, stage: str, settings: argparse.Namespace
) -> tuple[Clock, float]:
    """Trains with abcrl; returns when its steps ended and the seconds of the whole call."""
    clock = Clock(settings.device)
    with tempfile.TemporaryDirectory() as place:
        config = configure(stage, Path(place) / "run", settings)
        with RunFolder.create(Path(config.run.output), config, {}) as folder:
            begun = clock.read()
            train(
                network,
                rows,
                batch,
                config,
                folder=folder,
                reporter=Stepping(clock),
                compute_loss=None if stage == "sft" else classifier_loss,
            )
            return clock, clock.read() - begun


def run_trainer(
    network: PreTrainedModel, rows: Rows, batch: Collate, stage: str, settings: argparse.Namespace
) -> tuple[Clock, float]:
    """Trains with Trainer alone; see `run_abcrl`."""
    clock = Clock(settings.device)
    with tempfile.TemporaryDirectory() as place:
        training = configure(stage, Path(place) / "run", settings).training
        begun = clock.read()
        arguments = TrainingArguments(
            output_dir=place,
            max_steps=settings.steps,
            per_device_train_batch_size=settings.batch,
            learning_rate=training.learning_rate,
            logging_steps=_LOG_INTERVAL,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=settings.device == "cpu",
            dataloader_pin_memory=settings.device == "cuda",
            remove_unused_columns=False,
            seed=stream_seed(0, "trainer") % 2**31,
        )
        trainer = Trainer(
            model=network,
            args=arguments,
            train_dataset=rows,
            data_collator=batch,
            callbacks=[Stepping(clock)],
        )
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
        return clock, clock.read() - begun


RUNS: Final = {"abcrl": run_abcrl, "trainer": run_trainer}


def measure(stage: str, settings: argparse.Namespace) -> Comparison:
    """Runs both sides in turns; the first turn warms up.

    Raises:
        RuntimeError: They did not end in the same weights.
    """
    rows = Rows(settings.batch * settings.steps, settings)
    timings: dict[str, list[Timing]] = {side: [] for side in SIDES}
    for turn in range(settings.repeats + 1):
        networks = {}
        for side in SIDES if turn % 2 else reversed(SIDES):
            networks[side] = network = make_network(stage, settings)
            tokens: list[int] = []
            batch = partial(collate, stage=stage, tokens=tokens)
            clock, whole = RUNS[side](network, rows, batch, stage, settings)
            timing = Timing(clock.ends[-1] - clock.ends[0], whole, sum(tokens[1 : settings.steps]))
            if turn:
                timings[side].append(timing)
        require_same(networks)
        print(f"{stage}: turn {turn} of {settings.repeats}", file=sys.stderr, flush=True)
    return Comparison(stage, timings)


def require_same(networks: Mapping[str, PreTrainedModel]) -> None:
    """Refuses sides that have not learnt the same.

    Raises:
        RuntimeError: It names a weight.
    """
    ours, theirs = (networks[side].state_dict() for side in SIDES)
    for name, weight in ours.items():
        if not torch.allclose(weight, theirs[name], atol=1e-4, rtol=1e-3):
            raise RuntimeError(f"{name} differs between the sides, which trained on other batches")


HEADER: Final = (
    f"{'':9} {'tokens/s, median':^19}  {'seconds of abcrl / trainer, median (quartiles)':^47}\n"
    f"{'stage':9} {'abcrl':>9} {'trainer':>9}  {'steps':^23} {'whole call':^23}"
)


def line_of(comparison: Comparison) -> str:
    """Returns a line of the table."""
    spreads = []
    for seconds in (lambda one: one.seconds, lambda one: one.whole):
        low, median, high = statistics.quantiles(
            comparison.ratios(seconds), n=4, method="inclusive"
        )
        spreads.append(f"{median:.3f} ({low:.3f}-{high:.3f})")
    ours, theirs = (comparison.speed(side) for side in SIDES)
    return f"{comparison.stage:9} {ours:9.0f} {theirs:9.0f}  {spreads[0]:^23} {spreads[1]:^23}"


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Returns the settings; a wrong one ends the program with exit code 2."""
    parser = argparse.ArgumentParser(
        description="What sft and train-rm cost beside a bare transformers.Trainer.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    add("--repeats", type=count, default=7, help="turns, at least two")
    add("--steps", type=count, default=41, help="optimizer steps of a run, at least two")
    add("--batch", type=count, default=32, help="texts in a step")
    add("--length", type=count, default=128, help="tokens of the longest text, at least 8")
    add("--layers", type=count, default=4)
    add("--width", type=count, default=256, help="of the hidden states")
    add("--heads", type=count, default=4)
    add("--vocabulary", type=count, default=1024)
    add("--checkpoint-interval", type=count, default=200, help="of abcrl, steps")
    add("--threads", type=count, default=1, help="torch's threads on the CPU")
    add("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    add("--json", type=Path, metavar="FILE", help="also write settings and numbers there")
    settings = parser.parse_args(arguments)
    if min(settings.repeats, settings.steps) < 2 or settings.length < 8:
        parser.error("--repeats and --steps must be at least 2, --length at least 8; raise them")
    if settings.width % settings.heads:
        parser.error(f"--width must be a multiple of --heads, received {settings.width}; set both")
    if settings.json is not None and not settings.json.parent.is_dir():
        parser.error(f"--json must be in an existing folder, received {settings.json}; make it")
    return settings


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table and, if asked for, writes the numbers."""
    settings = read_arguments(arguments)
    torch.set_num_threads(settings.threads)
    transformers.logging.set_verbosity_error()
    comparisons = [measure(stage, settings) for stage in settings.stages]
    print(HEADER)
    for comparison in comparisons:
        print(line_of(comparison))
    if settings.json is not None:
        given = {**vars(settings), "json": None, "torch": torch.__version__}
        rows = [asdict(comparison) for comparison in comparisons]
        settings.json.write_text(json.dumps({"settings": given, "runs": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
