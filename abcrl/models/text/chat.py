"""What a tokenizer's chat template writes of a conversation, and where in it the words stand."""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any, Final, NamedTuple

from transformers import PreTrainedTokenizerBase

from abcrl.config import InputError
from abcrl.config.template import CHAT_TEMPLATE
from abcrl.dialogue import PromptText, Turn

from .reward_text import RewardText, Span

Chat = Callable[[Sequence[str]], str]
"""What each turn says -> all of them as the chat template writes them."""

_PLACE: Final = "\N{OBJECT REPLACEMENT CHARACTER}"
REMEMBERED: Final = 1 << 15
"""Prompts that are written once: both sides of a pair answer one, and a run may come back to it."""


class Written(NamedTuple):
    """A conversation as a chat template writes it.

    Attributes:
        text: All of it.
        spans: Characters of `text` that are each turn's words; None of a turn that is not there.
    """

    text: str
    spans: tuple[Span | None, ...]


class ChatWriter:
    """Conversations as a tokenizer's chat template writes them.

    The template may take white space off the ends of what a turn says; where it does anything else
    to it, or refuses it, its place holds what was said as it is.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, key: str) -> None:
        """Takes the tokenizer, and the configuration key to name.

        Raises:
            InputError: The tokenizer has no chat template, or one that does not hold the response
                once, behind the prompt.
        """
        if not tokenizer.chat_template:
            raise InputError(
                f"{key}: must be a text with {{prompt}} and {{response}} where the model's "
                f"tokenizer has no chat template, received {CHAT_TEMPLATE}; spell it out"
            )
        self._tokenizer = tokenizer
        self._key = key
        self.reads_prompts = _require_places(self._chat(("user", "assistant")), key)
        """Whether it writes what a user says; else it writes no turn but the response."""
        self._frames: dict[tuple[tuple[str, ...], bool], str] = {}

    def write(self, turns: Sequence[Turn], *, opens_answer: bool = False) -> Written:
        """Returns turns as the template writes them.

        Args:
            turns: The conversation.
            opens_answer: Whether the template is to write its generation prompt behind them.

        Raises:
            InputError: The template does not accept such turns, or loses what one of them says.
        """
        roles, said = [turn.role for turn in turns], [turn.content for turn in turns]
        frame = self.frame(roles, opens_answer=opens_answer)
        chat = self._chat(roles, opens_answer=opens_answer)
        order = _order(frame, len(said))
        around = _around(frame, order)
        kept = _kept_at_once(chat, said, around, order)
        if kept is None:
            kept = [_kept(chat, frame, number, said) for number in order]
        text = around[0]
        spans: list[Span | None] = [None] * len(said)
        for number, words, behind in zip(order, kept, around[1:], strict=True):
            spans[number] = (len(text), len(text) + len(words))
            text += words + behind
        return Written(text, tuple(spans))

    def frame(self, roles: Sequence[str], *, opens_answer: bool = False) -> str:
        """Returns what is written for speakers, with places for what they say.

        Raises:
            InputError: The template does not accept them, or has not one place for each.
        """
        known = (tuple(roles), opens_answer)
        if known not in self._frames:
            chat = self._chat(roles, opens_answer=opens_answer)
            frame = chat([place_of(number) for number in range(len(roles))])
            _require_words(frame, roles, self._key, all_turns=self.reads_prompts)
            self._frames[known] = frame
        return self._frames[known]

    def keep(self, roles: Sequence[str], words: str) -> str:
        """Returns what the template leaves of the last speaker's words."""
        last = len(roles) - 1
        said = [*map(place_of, range(last)), words]
        return _kept(self._chat(roles), self.frame(roles), last, said) if words else ""

    def _chat(self, roles: Sequence[str], *, opens_answer: bool = False) -> Chat:
        options = {"add_generation_prompt": True} if opens_answer else {}
        return partial(_apply_chat_template, self._tokenizer, roles, self._key, options)


class ChatRender:
    """Prompt and response as a model reads them that was trained on such conversations."""

    def __init__(self, writer: ChatWriter) -> None:
        """Takes what knows the template."""
        self._writer = writer
        # A template may hold the date: a prompt keeps that of the day it was first read.
        self._before = lru_cache(REMEMBERED)(self._write_before)

    def __call__(self, prompt: PromptText | str, response: str) -> RewardText:
        """Returns what a model reads.

        Raises:
            InputError: The template does not accept the prompt's turns, or loses one's words.
        """
        turns = (Turn("user", prompt),) if isinstance(prompt, str) else prompt.conversation
        before, words, after = self._before(turns)
        kept = self._writer.keep([*(turn.role for turn in turns), "assistant"], response)
        start, stop = len(before), len(before) + len(kept)
        return RewardText(before + kept + after, start, stop, rendered=True, words=words)

    def _write_before(self, turns: tuple[Turn, ...]) -> tuple[str, tuple[Span, ...], str]:
        """Returns what stands before a response, the words of turns in it, and what is behind."""
        answer = Turn("assistant", place_of(len(turns)))
        text, spans = self._writer.write([*turns, answer])
        assert spans[-1] is not None  # what a writer is made for
        start, stop = spans[-1]
        return text[:start], in_order(spans[:-1]), text[stop:]


def place_of(number: int) -> str:
    """Stands for what a turn says while its place in a chat template is looked for."""
    return f"{_PLACE}{number + 1}{_PLACE}"


def _require_places(chat: Chat, key: str) -> bool:
    """Refuses what will never work, or changes whatever is said; else, whether a prompt is read."""
    prompt, response = place_of(0), place_of(1)
    frame = chat([prompt, response])
    ahead, _, behind = frame.rpartition(response)
    if frame.count(prompt) > 1 or chat(["a", "b"]) != f"{ahead.replace(prompt, 'a')}b{behind}":
        raise InputError(
            f"{key}: the tokenizer's chat template must hold the response once and as it is, and "
            f"the prompt at most once and before it, received one that does not; spell a template "
            f"out, with {{prompt}} and {{response}}"
        )
    return prompt in frame


def _require_words(frame: str, roles: Sequence[str], key: str, *, all_turns: bool) -> None:
    """Refuses a frame that has not one place for each turn, or for the last one if not all count.

    An answer, which stands behind a user's turn, must be the last place too.
    """
    order, last = _order(frame, len(roles)), len(roles) - 1
    for number in range(0 if all_turns else last, len(roles)):
        times = frame.count(place_of(number))
        if times != 1:
            raise words_lost(key, roles[number], f"{times} times" if times else "nowhere")
    if roles[last] == "assistant" and order[-1] != last:
        raise words_lost(key, roles[order[-1]], "behind the answer")


def words_lost(key: str, role: str, where: str) -> InputError:
    """Returns the error that names whose words a chat template writes nowhere, or elsewhere."""
    return InputError(
        f"{key}: the tokenizer's chat template must write what each turn says once, before the "
        f"answer, received one that writes the {role}'s words {where}; leave such rows out, or "
        f"spell a template out, with {{prompt}} and {{response}}"
    )


def _order(frame: str, count: int) -> list[int]:
    """Returns the turns that a frame has places for, in the order of these."""
    places = ((frame.find(place_of(number)), number) for number in range(count))
    return [number for at, number in sorted(places) if at >= 0]


def _around(frame: str, order: Sequence[int]) -> list[str]:
    """Returns what stands before, between and behind the places of turns."""
    ends = [(frame.find(place_of(each)), len(place_of(each))) for each in order]
    cuts = [0, *(cut for at, length in ends for cut in (at, at + length)), len(frame)]
    return [frame[start:stop] for start, stop in list(pairwise(cuts))[::2]]


def in_order(spans: Sequence[Span | None]) -> tuple[Span, ...]:
    """Returns the spans that are there as they follow each other in the text."""
    # Turns need not stand in the order in which they were said: some templates write what the
    # system says into the last user's turn.
    return tuple(sorted(span for span in spans if span is not None))


def _kept_at_once(
    chat: Chat, said: Sequence[str], around: Sequence[str], order: Sequence[int]
) -> list[str] | None:
    """Returns what a template holds of each turn where it treats all alike; None elsewhere."""
    try:
        text = chat(said)
    except InputError:
        return None
    as_it_is = [said[number] for number in order]
    for kept in (as_it_is, [words.strip() for words in as_it_is]):
        parts = (words + behind for words, behind in zip(kept, around[1:], strict=True))
        if around[0] + "".join(parts) == text:
            return kept
    return None


def _kept(chat: Chat, frame: str, number: int, said: Sequence[str]) -> str:
    """Returns what a template holds of what one turn says.

    That may lack white space at its ends. What the template has changed otherwise, or anything
    around it for its sake (to take the thoughts out of it, for example), is returned as it was.
    """
    wanted = said[number]
    before, _, after = frame.partition(place_of(number))
    contents = [place_of(other) for other in range(len(said))]
    contents[number] = wanted
    try:
        text = chat(contents)
    except InputError:
        return wanted
    kept = text[len(before) : len(text) - len(after)]
    framed = before + kept + after == text
    return kept if framed and kept in wanted and kept.strip() == wanted.strip() else wanted


def _apply_chat_template(
    tokenizer: PreTrainedTokenizerBase,
    roles: Sequence[str],
    key: str,
    options: dict[str, Any],
    contents: Sequence[str],
) -> str:
    turns = [
        {"role": role, "content": content} for role, content in zip(roles, contents, strict=True)
    ]
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, **options))
    except Exception as error:  # templates are programs, and raise whatever they like
        raise InputError(
            f"{key}: the tokenizer's chat template must accept the turns {', '.join(roles)}, "
            f"received {' '.join(str(error).split())[:160]!r}; spell a template out, with "
            f"{{prompt}} and {{response}}"
        ) from None
