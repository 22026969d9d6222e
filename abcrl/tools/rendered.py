"""Records as a policy reads them: their text with what stands around it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from abcrl.config import InputError, InspectConfig
from abcrl.config.template import CHAT_TEMPLATE
from abcrl.data import Pair
from abcrl.data.records import Record
from abcrl.dialogue import PromptText

if TYPE_CHECKING:
    from abcrl.models.text.prompt_writer import TextReader

_AT_A_TIME = 1000


@dataclass(frozen=True)
class Piece:
    """A stretch of what is read; `special`: one special token, else words."""

    text: str
    special: bool = False


@dataclass(frozen=True)
class Rendered:
    """One record as it is read.

    Attributes:
        place: Its row.
        parts: Name and content of each part: prompt, response, chosen, rejected, text.
    """

    place: str
    parts: tuple[tuple[str, tuple[Piece, ...]], ...]


class Renderer:
    """Renders records, with the tokens of a policy where a tokenizer is named."""

    def __init__(self, config: InspectConfig) -> None:
        """Loads the tokenizer.

        Raises:
            InputError: There is none, or it does not go with the template.
        """
        self._template = config.data.template
        self._reader: "TextReader | None" = None  # noqa: UP037 - imported below
        self.special_tokens: dict[int, str] = {}
        if config.tokenizer is None:
            return
        from abcrl.models import load_tokenizer  # its libraries take seconds to import
        from abcrl.models.text.prompt_writer import TextReader

        self._tokenizer = load_tokenizer(config.tokenizer, "tokenizer")
        self._reader = TextReader(self._tokenizer, policy_template=self._template)
        added = self._tokenizer.added_tokens_decoder.items()
        ids = {*self._tokenizer.all_special_ids, *(each for each, token in added if token.special)}
        words = self._tokenizer.convert_ids_to_tokens(sorted(ids))
        self.special_tokens = dict(zip(sorted(ids), words, strict=True))

    def why_not(self, record: Record) -> str:
        """Returns why a record cannot be written as the configuration says; "" if it can.

        See `abcrl.models.make_render`.
        """
        prompt = record.prompt
        if prompt is None:
            return "" if self._template is None else "no prompt, which data.template is for"
        if self._template == CHAT_TEMPLATE:
            return self._chat_refusal(prompt)
        if self._template is None:
            return "" if prompt.text is not None else "turns, for which data.template says no form"
        several = len(prompt.conversation) > 1
        return "several turns, for which data.template has one place" if several else ""

    def _chat_refusal(self, prompt: PromptText) -> str:
        """Returns what a chat template has against a prompt; "" where there is nothing, or none."""
        if self._reader is None:
            return ""
        try:
            self._reader.read([prompt], [""])
        except InputError as error:
            return str(error).partition(": ")[2].partition(";")[0]
        return ""

    def render(self, record: Record, place: str) -> Rendered:
        """Returns one record as it is read, by its turns where its prompt cannot be written."""
        for _, parts in self.encoded([record]):
            return Rendered(
                place, tuple((name, tuple(self._pieces(ids))) for name, ids in parts.items())
            )
        return Rendered(
            place,
            tuple(
                (name, (Piece(self._filled(record.prompt) if name == "prompt" else text),))
                for name, text in texts_of(record)
            ),
        )

    def encoded(self, records: Sequence[Record]) -> Iterator[tuple[Record, dict[str, list[int]]]]:
        """Yields records and the ids of their parts; of those alone that can be written.

        Without a tokenizer it yields none.
        """
        written = [record for record in records if self._reader and not self.why_not(record)]
        for start in range(0, len(written), _AT_A_TIME):
            yield from self._encode(written[start : start + _AT_A_TIME])

    def _encode(self, records: Sequence[Record]) -> Iterator[tuple[Record, dict[str, list[int]]]]:
        assert self._reader is not None  # asked for only then
        answers = [(record.prompt, text) for record in records for _, text in _answers(record)]
        read = iter(
            self._reader.read([prompt for prompt, _ in answers], [text for _, text in answers])
        )
        for record in records:
            parts: dict[str, list[int]] = {}
            for name, _ in _answers(record):
                ids, start = next(read)
                if record.prompt is not None:
                    parts["prompt"] = ids[:start]
                if name != "prompt":
                    parts[name] = ids[start:]
            yield record, parts

    def _filled(self, prompt: PromptText | None) -> str:
        """Returns a prompt in its template; turns by role and content where that is unknown."""
        assert prompt is not None  # it is the prompt that is shown
        if self._template is None and prompt.text is not None:
            return prompt.text
        if self._template in (None, CHAT_TEMPLATE) or len(prompt.conversation) > 1:
            return "\n".join(f"{turn.role}: {turn.content}" for turn in prompt.conversation)
        before = self._template.removesuffix("{response}")
        return before.replace("{prompt}", prompt.conversation[0].content)

    def _pieces(self, ids: Sequence[int]) -> Iterator[Piece]:
        words: list[int] = []
        for each in [*ids, None]:
            if each is not None and each not in self.special_tokens:
                words.append(each)
                continue
            if words:
                yield Piece(str(self._tokenizer.decode(words)))
                words = []
            if each is not None:
                yield Piece(self.special_tokens[each], special=True)


def _answers(record: Record) -> Iterator[tuple[str, str]]:
    """Yields name and text of what is learnt; of a prompt alone, an answer that says nothing."""
    if isinstance(record, Pair):
        yield from (("chosen", record.chosen), ("rejected", record.rejected))
    elif record.prompt is None:
        yield "text", record.text
    else:
        yield ("response", record.text) if record.text else ("prompt", "")


def texts_of(record: Record) -> Iterator[tuple[str, str]]:
    """Yields name and text of each part of a record; "" of turns."""
    if record.prompt is not None:
        yield "prompt", record.prompt.text or ""
    yield from ((name, text) for name, text in _answers(record) if name != "prompt")
