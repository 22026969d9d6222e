"""The paper's side of ppo_step.py: its own script, on request, in its own environment.

Runs `main` of experiments/scripts/rlhf_imdb.py from a clone of XanderJC/attention-based-credit.
What computes is theirs, unchanged. Given from here are only: networks from local folders, the
batches (in place of the progress bar around its data loader), response lengths (in place of its
random ones), and a wandb that does nothing.

Run by ppo_step.py, as `PYTHON paper_side.py SETTINGS` with its settings as JSON.
"""

import importlib.machinery
import importlib.util
import json
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from side import Meter, open_answers, steps

ENDLESS = 10**9


def load_script(clone: Path) -> Any:  # noqa: ANN401 - a module of theirs
    """Returns rlhf_imdb.py as a module."""
    wandb: Any = types.ModuleType("wandb")
    wandb.__spec__ = importlib.machinery.ModuleSpec("wandb", None)
    wandb.init = wandb.Table = lambda *_, **__: None
    sys.modules["wandb"] = wandb
    sys.path.insert(0, str(clone))
    path = clone / "experiments" / "scripts" / "rlhf_imdb.py"
    spec = importlib.util.spec_from_file_location("rlhf_imdb", path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def localise(script: Any, folder: Path) -> None:  # noqa: ANN401 - as above
    """Lets the script load from `folder` whatever it asks the Hub for."""
    import datasets
    import transformers

    def folder_of(name: str) -> str:
        return str(folder / ("reward-model" if "rm" in name else "policy"))

    for name in ("AutoModelForCausalLMWithValueHead", "AutoModelForSequenceClassification"):
        load = getattr(script, name).from_pretrained
        setattr(script, name, _from(lambda key, load=load, **o: load(folder_of(key), **o)))
    read = transformers.PreTrainedTokenizerFast.from_pretrained
    script.AutoTokenizer = _from(lambda key: read(folder_of(key)))
    rows = {"input_ids": [[1, 2]] * 64, "query": [""] * 64}
    script.build_dataset = lambda _: datasets.Dataset.from_dict(rows)


def _from(load: Any) -> Any:  # noqa: ANN401 - stands in for an Auto class
    return types.SimpleNamespace(from_pretrained=load)


class Turns:
    """Feeds the script's loop one batch at a time and says how long each step took."""

    def __init__(self, script: Any, settings: dict[str, Any]) -> None:  # noqa: ANN401 - as above
        self._answers = open_answers()
        self._tokenizer: Any = None
        self._lengths: Iterator[int] = iter(())
        self._folder = settings["folder"]
        self._meter = meter = Meter(settings["device"])
        self._advantages = self._end = 0.0
        trainer = script.PPOTrainerABC
        trainer.generate = _method(meter.timed("generate", trainer.generate))
        trainer.compute_advantages = self._marking("_advantages", trainer.compute_advantages)
        trainer.step = self._marking("_end", trainer.step)
        script.LengthSampler = lambda *_: lambda: next(self._lengths)
        script.tqdm = self.batches
        self._tokenizer = script.AutoTokenizer.from_pretrained("gpt2")

    def batches(self, _: object) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yields (number, batch) as the script's own loop does; a step ends at the next call."""
        for request in steps(self._answers, torch=torch.__version__):
            self._lengths = iter(request["lengths"])
            batch: dict[str, Any] = {
                "input_ids": [torch.tensor(ids) for ids in request["prompts"]],
                "query": [self._tokenizer.decode(ids) for ids in request["prompts"]],
            }
            self._meter.start()
            yield 0, batch
            generate = self._meter.spent["generate"]
            answer = {
                "generate": generate,
                "score": self._advantages - generate,
                "update": self._end - self._advantages,
                "tokens": sum(len(self._tokenizer(text).input_ids) for text in batch["response"]),
                "peak": self._meter.peak(),
            }
            print(json.dumps(answer), file=self._answers)

    def _marking(self, mark: str, function: Any) -> Any:  # noqa: ANN401 - a method of theirs
        def call(trainer: object, *arguments: object, **options: object) -> object:
            result = function(trainer, *arguments, **options)
            setattr(self, mark, self._meter.elapsed())
            return result

        return call


def _method(function: Any) -> Any:  # noqa: ANN401 - a function that becomes a method
    return lambda self, *arguments, **options: function(self, *arguments, **options)


def main() -> None:
    """Runs the script's own `main` until no more is asked."""
    settings = json.loads(sys.argv[1])
    warnings.simplefilter("ignore")
    torch.set_num_threads(settings["threads"])
    script = load_script(Path(settings["clone"]))
    localise(script, Path(settings["folder"]))
    Turns(script, settings)
    low, high = settings["span"]
    script.main(
        method="abc",
        max_epochs=ENDLESS,
        beta=0.8,
        min_generation=low,
        max_generation=high + 1,  # theirs is exclusive
        batch_size=settings["batch"],
        seed=1,
    )


if __name__ == "__main__":
    main()
