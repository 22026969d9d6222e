"""What a reward model wants around prompt and response: nothing, a text of its own, or a chat."""

from collections.abc import Callable
from functools import partial
from typing import Final

from transformers import PreTrainedTokenizerBase

from abcrl.config import InputError
from abcrl.config.reward import CHAT_TEMPLATE

from .reward_text import Render, RewardText, continue_prompt

Chat = Callable[[str, str], str]
"""(the user's turn, the assistant's turn) -> both as the chat template writes them."""

_PROMPT: Final = "\N{OBJECT REPLACEMENT CHARACTER}1"
_RESPONSE: Final = "\N{OBJECT REPLACEMENT CHARACTER}2"
"""They stand for prompt and response while their places in a chat template are looked for."""


def make_render(template: str | None, tokenizer: PreTrainedTokenizerBase) -> Render:
    """Returns how a reward model reads prompt and response.

    Nothing that they say makes the returned function fail, or moves the template's words.

    Args:
        template: None: the response right behind the prompt. "chat": the tokenizer's chat template,
            the prompt as the user's turn and the response as the assistant's. It may take white
            space off their ends; where it does anything else to one of them, or refuses it, its
            place holds what was said as it is. Else a text that holds {response} once and {prompt}
            at most once; all of it is plain text, special tokens that it spells included.
        tokenizer: The reward model's.

    Raises:
        InputError: The tokenizer has no chat template, or its template does not hold the response
            once, behind the prompt.
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
    _require_places(chat)
    return partial(_fill_chat, chat)


def _fill(template: str, prompt: str, response: str) -> RewardText:
    # Not str.format: a template may hold braces, and so may prompt and response.
    before, after = template.split("{response}")
    before, after = (part.replace("{prompt}", prompt) for part in (before, after))
    return RewardText(before + response + after, len(before), len(before) + len(response))


def _require_places(chat: Chat) -> None:
    """Refuses what will never work, or changes whatever is said, before anything is scored."""
    empty = chat(_PROMPT, _RESPONSE)
    ahead, _, behind = empty.rpartition(_RESPONSE)
    if empty.count(_PROMPT) > 1 or chat("a", "b") != f"{ahead.replace(_PROMPT, 'a')}b{behind}":
        raise InputError(
            "score.template: the reward model's chat template must hold the response once and as "
            "it is, and the prompt at most once and before it, received one that does not; spell a "
            "template out, with {prompt} and {response}"
        )


def _fill_chat(chat: Chat, prompt: str, response: str) -> RewardText:
    # Written anew for each response, for a template may hold the date.
    before, after = chat(_PROMPT, _RESPONSE).split(_RESPONSE)
    answer = _kept((before, after), partial(chat, _PROMPT, response), response)
    ahead, found, between = before.rpartition(_PROMPT)
    asked = ""
    if found:
        frame = (ahead, between + _RESPONSE + after)
        asked = _kept(frame, partial(chat, prompt, _RESPONSE), prompt)
    before = ahead + asked + between
    return RewardText(
        text=before + answer + after,
        start=len(before),
        stop=len(before) + len(answer),
        rendered=True,
        prompt=(len(ahead), len(ahead) + len(asked)),
    )


def _kept(frame: tuple[str, str], rendered: Callable[[], str], said: str) -> str:
    """Returns what a template holds of something said, between the two parts of its frame.

    That may lack white space at its ends. What the template has changed otherwise, or anything
    around it for its sake (to take the thoughts out of it, for example), is returned as it was.
    """
    before, after = frame
    try:
        text = rendered()
    except InputError:
        return said
    kept = text[len(before) : len(text) - len(after)]
    framed = before + kept + after == text
    return kept if framed and kept in said and kept.strip() == said.strip() else said


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
