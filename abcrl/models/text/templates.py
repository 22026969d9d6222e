"""What a model wants around prompt and response: nothing, a text of its own, or a chat."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from transformers import PreTrainedTokenizerBase

from abcrl.config import InputError
from abcrl.config.template import CHAT_TEMPLATE
from abcrl.dialogue import PromptText, Turn

from .reward_text import Render, RewardText, Span, continue_prompt

Chat = Callable[[Sequence[str]], str]
"""What each turn says -> all of them as the chat template writes them."""

_PLACE: Final = "\N{OBJECT REPLACEMENT CHARACTER}"


def make_render(
    template: str | None, tokenizer: PreTrainedTokenizerBase, key: str = "score.template"
) -> Render:
    """Returns how a model reads prompt and response.

    Nothing that they say makes the returned function fail, or moves the template's words; but a
    conversation of several turns needs a chat template, and raises InputError elsewhere.

    Args:
        template: None: the response right behind the prompt. "chat": the tokenizer's chat template,
            a prompt alone as the user's turn and the response as the assistant's. It may take white
            space off their ends; where it does anything else to one of them, or refuses it, its
            place holds what was said as it is. Else a text that holds {response} once and {prompt}
            at most once; all of it is plain text, special tokens that it spells included. Where it
            and the response both have white space between them, the response's is read.
        tokenizer: The model's.
        key: Configuration key to name.

    Raises:
        InputError: The tokenizer has no chat template, or its template does not hold the response
            once, behind the prompt.
    """
    if template is None:
        return partial(_continue, key)
    if template != CHAT_TEMPLATE:
        return partial(_fill, template, key)
    if not tokenizer.chat_template:
        raise InputError(
            f"{key}: must be a text with {{prompt}} and {{response}} where the model's tokenizer "
            f"has no chat template, received {CHAT_TEMPLATE}; spell it out"
        )
    _require_places(partial(_apply_chat_template, tokenizer, ("user", "assistant"), key), key)
    return partial(_fill_chat, tokenizer, key)


def _continue(key: str, prompt: PromptText | str, response: str) -> RewardText:
    if isinstance(prompt, str):
        return continue_prompt(prompt, response)
    if prompt.text is None:
        raise InputError(
            f"{key}: must say how a conversation is written, received null for rows of role and "
            f"content; choose chat (the tokenizer's chat template), or a text with {{prompt}}"
        )
    return continue_prompt(prompt.text, response)


def _fill(template: str, key: str, prompt: PromptText | str, response: str) -> RewardText:
    # Not str.format: a template may hold braces, and so may prompt and response.
    before, after = template.split("{response}")
    said = prompt if isinstance(prompt, str) else _one_turn(prompt, key).content
    before, after = (part.replace("{prompt}", said) for part in (before, after))
    if response[:1].isspace() and not before.endswith(said):
        before = before.rstrip(" ")
    return RewardText(before + response + after, len(before), len(before) + len(response))


def _one_turn(prompt: PromptText, key: str) -> Turn:
    if len(prompt.conversation) > 1:
        raise InputError(
            f"{key}: must be chat for conversations of several turns (a text has one place for a "
            f"prompt), received a text; choose chat, or leave them out with data.rows.max_turns=1"
        )
    return prompt.conversation[0]


def _require_places(chat: Chat, key: str) -> None:
    """Refuses what will never work, or changes whatever is said, before anything is read."""
    prompt, response = _place(0), _place(1)
    empty = chat([prompt, response])
    ahead, _, behind = empty.rpartition(response)
    if empty.count(prompt) > 1 or chat(["a", "b"]) != f"{ahead.replace(prompt, 'a')}b{behind}":
        raise InputError(
            f"{key}: the tokenizer's chat template must hold the response once and as it is, and "
            f"the prompt at most once and before it, received one that does not; spell a template "
            f"out, with {{prompt}} and {{response}}"
        )


def _fill_chat(
    tokenizer: PreTrainedTokenizerBase, key: str, prompt: PromptText | str, response: str
) -> RewardText:
    turns = (Turn("user", prompt),) if isinstance(prompt, str) else prompt.conversation
    roles = (*(turn.role for turn in turns), "assistant")
    said = [*(turn.content for turn in turns), response]
    chat = partial(_apply_chat_template, tokenizer, roles, key)
    # Written anew for each response, for a template may hold the date.
    empty = chat([_place(number) for number in range(len(said))])
    places = [(empty.find(_place(number)), number) for number in range(len(said))]
    text, done, spans = "", 0, {}
    for at, number in sorted(place for place in places if place[0] >= 0):
        kept = _kept(chat, empty, number, said)
        text += empty[done:at]
        spans[number] = (len(text), len(text) + len(kept))
        text += kept
        done = at + len(_place(number))
    start, stop = spans.pop(len(said) - 1)
    words: tuple[Span, ...] = tuple(spans[number] for number in sorted(spans))
    return RewardText(text + empty[done:], start, stop, rendered=True, words=words)


def _place(number: int) -> str:
    """Stands for what a turn says while its place in a chat template is looked for."""
    return f"{_PLACE}{number + 1}{_PLACE}"


def _kept(chat: Chat, empty: str, number: int, said: Sequence[str]) -> str:
    """Returns what a template holds of what one turn says.

    That may lack white space at its ends. What the template has changed otherwise, or anything
    around it for its sake (to take the thoughts out of it, for example), is returned as it was.
    """
    wanted = said[number]
    before, after = empty.split(_place(number), 1)
    contents = [_place(other) for other in range(len(said))]
    contents[number] = wanted
    try:
        text = chat(contents)
    except InputError:
        return wanted
    kept = text[len(before) : len(text) - len(after)]
    framed = before + kept + after == text
    return kept if framed and kept in wanted and kept.strip() == wanted.strip() else wanted


def _apply_chat_template(
    tokenizer: PreTrainedTokenizerBase, roles: Sequence[str], key: str, contents: Sequence[str]
) -> str:
    turns = [
        {"role": role, "content": content} for role, content in zip(roles, contents, strict=True)
    ]
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False))
    except Exception as error:  # templates are programs, and raise whatever they like
        raise InputError(
            f"{key}: the tokenizer's chat template must accept the turns {', '.join(roles)}, "
            f"received {' '.join(str(error).split())[:160]!r}; spell a template out, with "
            f"{{prompt}} and {{response}}"
        ) from None
