"""What a reward model wants around prompt and response: nothing, a text of its own, or a chat."""

from collections.abc import Callable
from functools import partial
from typing import Final

from transformers import PreTrainedTokenizerBase

from abcrl.config import InputError
from abcrl.config.reward import CHAT_TEMPLATE

from .reward_text import Render, RewardText, continue_prompt

_PLACE: Final = "\N{OBJECT REPLACEMENT CHARACTER}"
"""Stands for the response while its place in a chat template is looked for."""


def make_render(template: str | None, tokenizer: PreTrainedTokenizerBase) -> Render:
    """Returns how a reward model reads prompt and response.

    Args:
        template: None: the response right behind the prompt. "chat": the tokenizer's chat template,
            the prompt as the user's turn and the response as the assistant's. Else a text that
            holds {response} once and {prompt} at most once; all of it is plain text.
        tokenizer: The reward model's.

    Raises:
        InputError: The tokenizer has no chat template, or its template does not hold the response.
    """
    if template is None:
        return continue_prompt
    if template != CHAT_TEMPLATE:
        return partial(_fill, template)
    if not tokenizer.chat_template:
        raise InputError(
            f"score.template: must be a text with {{prompt}} and {{response}} where the reward "
            f"model's tokenizer has no chat template, received {CHAT_TEMPLATE}; spell it out"
        )
    chat = partial(_apply_chat_template, tokenizer)
    render = partial(_place_in_chat, chat)
    render("a", "b")  # refuses what will never work before anything is scored
    return render


def _fill(template: str, prompt: str, response: str) -> RewardText:
    # Not str.format: a template may hold braces, and so may prompt and response.
    before, after = template.split("{response}")
    before, after = (part.replace("{prompt}", prompt) for part in (before, after))
    return RewardText(before + response + after, len(before), len(before) + len(response))


def _place_in_chat(chat: Callable[[str, str], str], prompt: str, response: str) -> RewardText:
    text = chat(prompt, response)
    before, found, after = chat(prompt, _PLACE).rpartition(_PLACE)
    if not (found and text.startswith(before) and text.endswith(after)):
        raise InputError(
            "score.template: the reward model's chat template must hold the response as it is, "
            "received one that does not; spell a template out, with {prompt} and {response}"
        )
    return RewardText(text, len(before), len(text) - len(after), rendered=True)


def _apply_chat_template(tokenizer: PreTrainedTokenizerBase, prompt: str, response: str) -> str:
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False))
    except Exception as error:  # templates are programs, and raise whatever they like
        raise InputError(
            f"score.template: the reward model's chat template must accept a user's and an "
            f"assistant's turn, received {' '.join(str(error).split())[:160]!r}; spell a template "
            f"out, with {{prompt}} and {{response}}"
        ) from None
