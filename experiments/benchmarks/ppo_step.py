"""What a PPO step costs: seconds of its phases, beside the least they could take and the paper's.

Each side (abcrl at each mini-batch size, the paper's code if it is given) is a process of its own
that builds its networks once and then runs one step at a time; they take turns, on the same prompts
and response lengths, so that a disturbance from outside meets all of them.
Run: python ppo_step.py --help
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Final

import torch
from arguments import count
from arithmetic import Rates, step_work
from ppo_tables import PAPER, Measured, paper_table, step_table
from ppo_workload import Batch, Shape, Span, make_batch, write_networks

HERE: Final = Path(__file__).parent
LENGTHS: Final = ("8-15", "16", "50", "90-109", "100", "160")


class Side:
    """One side's process."""

    def __init__(self, command: Sequence[str], settings: Mapping[str, Any]) -> None:
        """Starts it; `first_answer` waits until it is ready."""
        environment = {**os.environ, "OMP_NUM_THREADS": str(settings["threads"])}
        if settings["device"] == "cpu":
            environment["CUDA_VISIBLE_DEVICES"] = ""
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            [*command, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            text=True,
        )
        self.known = self._answer()

    def run(self, batch: Batch) -> dict[str, Any]:
        """Returns the seconds of each phase of one step, its tokens and its peak memory."""
        pipe: IO[str] | None = self._process.stdin
        assert pipe is not None
        print(json.dumps(asdict(batch)), file=pipe, flush=True)
        return self._answer()

    def close(self) -> None:
        """Ends the process; what it ran is done."""
        with self._process:  # closes its pipes and waits
            pass
        self._errors.close()

    def _answer(self) -> dict[str, Any]:
        pipe: IO[str] | None = self._process.stdout
        assert pipe is not None
        line = pipe.readline()
        if not line:
            with self._process:
                pass
            with self._errors:
                self._errors.seek(0)
                raise SystemExit(f"a side ended:\n{self._errors.read()[-3000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def measure(span: Span, folder: Path, rates: Rates, settings: argparse.Namespace) -> list[Measured]:
    """Returns every side's steps at one response length, and takes samples of the rates."""
    given = {
        "folder": str(folder),
        "span": span,
        "batch": settings.batch,
        "device": settings.device,
        "threads": settings.threads,
        "clone": str(settings.paper),
    }
    ours = (sys.executable, str(HERE / "our_side.py"))
    with ExitStack() as stack:

        def start(command: Sequence[str], **more: object) -> Side:
            side = Side(command, {**given, **more})
            stack.callback(side.close)
            return side

        sides = {str(size): start(ours, mini_batch=size) for size in settings.mini_batches}
        if settings.paper is not None:
            theirs = (str(settings.paper_python), str(HERE / "paper_side.py"))
            sides[PAPER] = start(theirs)
        rates.parameters = next(side.known["parameters"] for side in sides.values())
        return _take_turns(span, sides, rates, settings)


def _take_turns(
    span: Span, sides: Mapping[str, Side], rates: Rates, settings: argparse.Namespace
) -> list[Measured]:
    measured = {name: Measured(span, name, [], []) for name in sides}
    names = list(sides)
    for turn in range(settings.repeats + 1):
        batch = make_batch(turn, span, size=settings.batch, vocabulary=settings.vocabulary)
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            answer = sides[name].run(batch)
            if turn == 0:  # warms up
                continue
            measured[name].answers.append(answer)
            if name != PAPER:
                work = step_work(
                    batch, rates.shape, mini_batch=int(name), parameters=rates.parameters
                )
                measured[name].works.append(work)
        rows = [w.rows for m in measured.values() for works in m.works for w in works.values()]
        rates.measure(rows)
    return list(measured.values())


def _span(text: str) -> Span:
    low, _, high = text.partition("-")
    if (
        not low.isdecimal()
        or not (high or low).isdecimal()
        or not 1 <= int(low) <= int(high or low)
    ):
        raise argparse.ArgumentTypeError(
            f"must be a number of tokens like 16 or a range like 8-15, received {text!r}"
        )
    return Span(int(low), int(high or low))


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Returns the settings; a wrong one ends the program with exit code 2."""
    parser = argparse.ArgumentParser(
        description="What a PPO step costs, beside its arithmetic bound and the paper's code.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--lengths", nargs="+", type=_span, default=[_span(text) for text in LENGTHS],
        metavar="TOKENS", help="of responses: a number, or a range to draw from")  # fmt: skip
    add("--mini-batches", nargs="+", type=count, default=[1, 16], metavar="SIZE")
    add("--repeats", type=count, default=7, help="turns, at least two")
    add("--batch", type=count, default=16, help="responses in a step")
    add("--layers", type=count, default=4)
    add("--width", type=count, default=256, help="of the hidden states")
    add("--heads", type=count, default=4)
    add("--vocabulary", type=count, default=4096, help="tokens, at most 4096")
    add("--threads", type=count, default=1, help="torch's threads on the CPU")
    add("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    add("--paper", type=Path, metavar="CLONE", help="of XanderJC/attention-based-credit")
    add("--paper-python", type=Path, metavar="PYTHON", help="of the environment it runs in")
    add("--json", type=Path, metavar="FILE", help="also write settings and numbers there")
    settings = parser.parse_args(arguments)
    for wrong, message in _refusals(settings):
        if wrong:
            parser.error(message)
    return settings


def _refusals(settings: argparse.Namespace) -> list[tuple[bool, str]]:
    script = settings.paper and settings.paper / "experiments" / "scripts" / "rlhf_imdb.py"
    return [
        (settings.repeats < 2, "--repeats must be at least 2; raise it"),
        (
            settings.width % settings.heads != 0,
            f"--width must be a multiple of --heads, received {settings.width}; set both",
        ),
        (
            not 2 <= settings.vocabulary <= 4096,
            f"--vocabulary must be 2 to 4096, received {settings.vocabulary}",
        ),
        (
            any(settings.batch % size for size in settings.mini_batches),
            f"--mini-batches must divide --batch ({settings.batch}), received "
            f"{settings.mini_batches}",
        ),
        (
            (settings.paper is None) != (settings.paper_python is None),
            "--paper and --paper-python must be given together; give both",
        ),
        (
            script is not None and not script.is_file(),
            f"--paper must hold experiments/scripts/rlhf_imdb.py, received {settings.paper}",
        ),
        (
            settings.json is not None and not settings.json.parent.is_dir(),
            f"--json must be in an existing folder, received {settings.json}; make it",
        ),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the tables and, if asked for, writes the numbers."""
    settings = read_arguments(arguments)
    torch.set_num_threads(settings.threads)
    longest = max(span.high for span in settings.lengths)
    shape = Shape(
        settings.layers, settings.width, settings.heads, settings.vocabulary, 16 + longest
    )
    measured: list[Measured] = []
    rates = Rates(settings.device, shape, parameters=0)
    with tempfile.TemporaryDirectory() as folder:
        write_networks(Path(folder), shape)
        for span in settings.lengths:
            measured += measure(span, Path(folder), rates, settings)
            print(f"measured {span} tokens", file=sys.stderr, flush=True)
    print(step_table([m for m in measured if m.side != PAPER], rates))
    if settings.paper is not None:
        print(f"\n{paper_table(measured)}")
    if settings.json is not None:
        given = {key: str(value) for key, value in vars(settings).items()}
        rows = [asdict(m) for m in measured]
        samples = {str(key): values for key, values in rates.samples.items()}
        content = {"settings": given, "torch": torch.__version__, "rates": samples, "steps": rows}
        settings.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
