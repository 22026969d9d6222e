"""Questions and answers that were invented for the tests, as files, and tiny models to answer them.

The models are random: what matters here is what they are given to read, and by whom.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from abcrl.config import PpoConfig, load_config
from abcrl.models import train_tokenizer
from tests.conftest import TINY_PPO

BuildModel = Callable[..., Any]

CHAT = (
    "{% for turn in messages %}<|{{ turn.role }}|>{{ turn.content | trim }}<|endoftext|>\n"
    "{% endfor %}"
)
QUESTION = "Question: {prompt}\nAnswer:{response}"
DIALOGUE = "Human: {prompt}\n\nAssistant:{response}"

QUESTIONS = [
    f"Was the {thing} of {place} {kind}?"
    for thing in ("plot", "cast of the film", "end")
    for place in ("Rome", "the north", "an old town")
    for kind in ("good", "far too long", "a joke")
]
_ANSWER = " It was not, as far as I could see."
_WORSE = " No."


@dataclass(frozen=True)
class Models:
    """Folders of models whose tokenizers have a chat template; the foreign one has other tokens."""

    policy: Path
    reward_model: Path
    foreign_reward_model: Path
    tokenizer: PreTrainedTokenizerBase
    foreign_tokenizer: PreTrainedTokenizerBase

    def reward(self, kind: str) -> tuple[Path, PreTrainedTokenizerBase]:
        """Returns the reward model with the policy's tokens (own), or the other (foreign)."""
        if kind == "own":
            return self.reward_model, self.tokenizer
        return self.foreign_reward_model, self.foreign_tokenizer


def make_models(causal_lm: BuildModel, classifier: BuildModel, root: Path) -> Models:
    """Saves them below a folder."""
    tokenizer = train_tokenizer([f"{each} It was not." for each in QUESTIONS], 320)
    foreign = train_tokenizer(["What a film: the Human and the Assistant were good. "] * 3, 290)
    for each in (tokenizer, foreign):
        each.chat_template = CHAT
    models = Models(root / "policy", root / "own", root / "foreign", tokenizer, foreign)
    size = {"max_position_embeddings": 256}
    causal_lm(vocab_size=len(tokenizer), **size).save_pretrained(models.policy)
    classifier(vocab_size=len(tokenizer), seed=1, **size).save_pretrained(models.reward_model)
    classifier(vocab_size=len(foreign), seed=2, **size).save_pretrained(models.foreign_reward_model)
    for folder, each in (
        (models.policy, tokenizer),
        (models.reward_model, tokenizer),
        (models.foreign_reward_model, foreign),
    ):
        each.save_pretrained(folder)
    return models


def run_on_prompts(
    models: Models, folder: Path, source: Path, name: str = "run", **changes: object
) -> PpoConfig:
    """A PPO run of three steps in `folder`/`name` on a file, with the policy's own tokens."""
    settings: dict[str, Any] = {
        **TINY_PPO,
        "data.limit": None,
        "data.source": str(source),
        "data.validation_fraction": 0.4,
        "prompt.max_tokens": 60,
        "policy": str(models.policy),
        "reward_model": str(models.reward_model),
        "run.output": str(folder / name),
    }
    named = {key.replace("__", "."): value for key, value in changes.items()}
    return load_config(PpoConfig, flags={**settings, **named})


def chat_text(turns: Iterable[tuple[str, str]]) -> str:
    """What `CHAT` writes, spelled out here."""
    return "".join(f"<|{role}|>{said.strip()}<|endoftext|>\n" for role, said in turns)


def write_answers(file: Path, questions: Iterable[str] = QUESTIONS) -> Path:
    """Writes rows of prompt and response."""
    return _write(file, ({"prompt": each, "response": _ANSWER} for each in questions))


def write_pairs(file: Path) -> Path:
    """Writes rows of prompt, chosen and rejected; some prompts come twice."""
    rows = [{"prompt": each, "chosen": _ANSWER, "rejected": _WORSE} for each in QUESTIONS]
    again = [{**row, "rejected": " Why?"} for row in rows[:5]]
    return _write(file, [*rows, *again])


def write_conversations(file: Path, *, turns: int = 2) -> Path:
    """Writes rows of messages: of every third one the user speaks `turns` times, else once."""
    rows = []
    for number, question in enumerate(QUESTIONS):
        said = [("user", question), ("assistant", _ANSWER)]
        if number % 3 == 0:
            said = [("user", "Hello."), ("assistant", "Good day.")] * (turns - 1) + said
        if number % 5 == 0:
            said = [("system", "Be short."), *said]
        rows.append({"messages": [{"role": role, "content": text} for role, text in said]})
    return _write(file, rows)


def write_transcripts(file: Path) -> Path:
    r"""Writes pairs of whole transcripts, `\n\nHuman: ...\n\nAssistant: ...`."""
    before = (f"\n\nHuman: {each}\n\nAssistant:" for each in QUESTIONS)
    return _write(file, ({"chosen": one + _ANSWER, "rejected": one + _WORSE} for one in before))


def _write(file: Path, rows: Iterable[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file
