"""What a policy reads before it answers, and how an answer is written for it to learn."""

from collections.abc import Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from abcrl.config.template import CHAT_TEMPLATE
from abcrl.dialogue import PromptText

from .chat_prompts import ChatPrompts
from .reading import first_blank, splice_response, surroundings
from .reward_text import RewardText, encode_text
from .templates import make_render
from .tokenizers import bos_prefix, encode_batch, encode_plain


class PromptWriter:
    """Prompts and responses as a policy's tokens: the one place that SFT and PPO get them from.

    A prompt ends where the response begins: nothing is encoded across that border, for PPO's
    responses are generated behind it. What a prompt says stays words, special tokens that it spells
    included. Of a chat template it ends in what the template writes for an answer to follow, its
    generation prompt. A template's white space before {response} is the response's, as it is in
    plain text, where words begin with it. Behind a response stands EOS and nothing else.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: str | None = None) -> None:
        """Takes the policy's tokenizer and `data.template`.

        Raises:
            InputError: The tokenizer has no chat template, or one that cannot be used: it leaves
                out what a user says, or ends a response in another special token than EOS.
        """
        self._tokenizer = tokenizer
        self._bos = bos_prefix(tokenizer)
        self._chat = self._render = None
        if template == CHAT_TEMPLATE:
            self._chat = ChatPrompts(tokenizer, "data.template")
            blank = self._chat.blank
        else:
            self._render = make_render(template, tokenizer, "data.template")
            blank = " " if template is not None and template.endswith(" {response}") else ""
        self._gives_blank = blank != ""
        # Llama's tokenizer puts a blank of its own before the first word of any text.
        has_own = blank == " " and first_blank(tokenizer, encode_plain(tokenizer, "a")) == blank
        self._blank = "" if has_own else blank

    def prompts(self, prompts: Sequence[PromptText]) -> list[list[int]]:
        """Returns the ids of each prompt, BOS included where the tokenizer begins with it.

        Raises:
            InputError: A prompt is a conversation that the template has no place for.
        """
        if self._chat is not None:
            return [encode_text(self._tokenizer, self._chat(prompt))[0] for prompt in prompts]
        assert self._render is not None  # one of both is there
        texts = [self._render(prompt, "").before for prompt in prompts]
        plain = encode_batch(self._tokenizer, [self._without_blank(text) for text in texts])
        return [[*self._bos, *ids] for ids in plain]

    def prompt_ids(self, prompt: PromptText) -> list[int]:
        """Returns the ids of one prompt; see `prompts`."""
        [ids] = self.prompts([prompt])
        return ids

    def responses(self, responses: Sequence[str]) -> list[list[int]]:
        """Returns the ids of each response, EOS last."""
        plain = encode_batch(self._tokenizer, [self._as_learnt(text) for text in responses])
        return [[*ids, self._tokenizer.eos_token_id] for ids in plain]

    def response_ids(self, response: str) -> list[int]:
        """Returns the ids of one response, EOS last."""
        [ids] = self.responses([response])
        return ids

    def _without_blank(self, text: RewardText) -> str:
        return text.text.rstrip(" ") if self._gives_blank else text.text

    def _as_learnt(self, response: str) -> str:
        if self._chat is not None:  # what a turn says has no white space at its ends
            return self._blank + response.strip()
        return self._blank + response.lstrip() if self._gives_blank else response


class PromptedText(NamedTuple):
    """A response behind its prompt, as a model reads it.

    Attributes:
        ids: All of it: BOS where the tokenizer begins with one, EOS behind the response.
        start: Index of the response's first token; 0 of a plain text, BOS included.
    """

    ids: list[int]
    start: int


class TextReader:
    """Responses behind their prompts as a model's tokens: what SFT and reward models learn from."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        policy_template: str | None = None,
        template: str | None = None,
    ) -> None:
        """Takes the model's tokenizer, and how prompts are written.

        Args:
            tokenizer: The model's.
            policy_template: `data.template`, in which the policy reads a prompt.
            template: A reward model's own, as `score.template`; None: what the policy reads.

        Raises:
            InputError: A template needs a chat template that the tokenizer does not have.
        """
        self._tokenizer = tokenizer
        self._writer = PromptWriter(tokenizer, policy_template)
        self._render = None if template is None else make_render(template, tokenizer, "template")
        self._bos = bos_prefix(tokenizer)

    def read(
        self, prompts: Sequence[PromptText | None], responses: Sequence[str]
    ) -> list[PromptedText]:
        """Returns what is read of each response; None stands for no prompt.

        Raises:
            InputError: A prompt is a conversation that the template has no place for.
        """
        if self._render is not None:
            return [self._fill(*each) for each in zip(prompts, responses, strict=True)]
        rows = self._writer.responses(responses)
        given = [prompt for prompt in prompts if prompt is not None]
        before = iter(self._writer.prompts(given))
        return [
            PromptedText([*self._bos, *ids], 0)
            if prompt is None
            else PromptedText([*(ahead := next(before)), *ids], len(ahead))
            for prompt, ids in zip(prompts, rows, strict=True)
        ]

    def _fill(self, prompt: PromptText | None, response: str) -> PromptedText:
        """Returns what PPO's scorer gives a reward model with a template of its own.

        That is, to one with the policy's ids; see `surroundings` for what one with another
        tokenizer reads otherwise.
        """
        assert self._render is not None
        response_ids = self._writer.response_ids(response)
        around = surroundings(self._tokenizer, self._render, prompt or "", response_ids)
        ids, places = splice_response(self._tokenizer, around, response_ids, ended=True)
        return PromptedText(ids, places[0])
