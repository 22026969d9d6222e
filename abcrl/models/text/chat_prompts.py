"""What a policy reads of a conversation, in its tokenizer's chat template, before it answers."""

from functools import lru_cache

from transformers import PreTrainedTokenizerBase

from abcrl.config import InputError
from abcrl.dialogue import PromptText, Turn

from .chat import REMEMBERED, ChatRender, ChatWriter, in_order, words_lost
from .reward_text import RewardText, encode_text
from .tokenizers import special_ids


class ChatPrompts:
    """Prompts as a policy reads them before it answers: the template's generation prompt is last.

    A template that does not know one writes what it writes before an answer; the blanks at the end
    of that are the answer's.

    Attributes:
        blank: White space that the template writes between such a prompt and its answer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, key: str) -> None:
        """Takes the policy's tokenizer, and the configuration key to name.

        Raises:
            InputError: The tokenizer has no chat template, or one that writes no prompt, or ends a
                response in another special token than EOS.
        """
        self._writer = writer = ChatWriter(tokenizer, key)
        self._render = ChatRender(writer)
        if not writer.reads_prompts:
            raise words_lost(key, "user", "nowhere")
        hello = Turn("user", "a")
        read = self._render(PromptText(turns=(hello,)), "")
        _require_eos(tokenizer, read.after, key)
        before = read.before.text
        asked, opened = (writer.write([hello], opens_answer=each).text for each in (False, True))
        # One that puts nothing but blanks before an answer has no need of a generation prompt.
        self._opens = opened != asked or before.rstrip(" ") == asked.rstrip(" ")
        beginning = opened if self._opens else before.rstrip(" ")
        between = before.removeprefix(beginning)
        self.blank = between if before.startswith(beginning) and between.isspace() else ""
        self._written = lru_cache(REMEMBERED)(self._write)

    def __call__(self, prompt: PromptText) -> RewardText:
        """Returns what the policy reads; `start` and `stop` are the end of it.

        Raises:
            InputError: The template does not accept the prompt's turns, or loses one's words.
        """
        return self._written(prompt.conversation)

    def _write(self, turns: tuple[Turn, ...]) -> RewardText:
        if self._opens:
            text, spans = self._writer.write(turns, opens_answer=True)
            words = in_order(spans)
        else:
            before = self._render(PromptText(turns=turns), "").before
            words, said = before.words, before.words[-1][1]
            text = before.text[:said] + before.text[said:].rstrip(" ")
        return RewardText(text, len(text), len(text), rendered=True, words=words)


def _require_eos(tokenizer: PreTrainedTokenizerBase, after: RewardText, key: str) -> None:
    """Refuses a policy that would learn to end where its template does not."""
    text = after.text.lstrip()
    ids, _ = encode_text(tokenizer, RewardText(text, 0, 0, rendered=True))
    if not ids or ids[0] == tokenizer.eos_token_id or ids[0] not in special_ids(tokenizer):
        return
    raise InputError(
        f"{key}: the tokenizer's EOS must be what the chat template ends a turn with, received "
        f"{tokenizer.eos_token} where it writes {tokenizer.convert_ids_to_tokens(ids[0])}; set "
        f"eos_token in tokenizer_config.json"
    )
