"""What a model wants around prompt and response: nothing, a text of its own, or a chat."""

from functools import partial

from transformers import PreTrainedTokenizerBase

from abcrl.config import InputError
from abcrl.config.template import CHAT_TEMPLATE
from abcrl.dialogue import PromptText, Turn

from .chat import ChatRender, ChatWriter
from .reward_text import Render, RewardText, continue_prompt


def make_render(
    template: str | None, tokenizer: PreTrainedTokenizerBase, key: str = "score.template"
) -> Render:
    """Returns how a model reads prompt and response.

    Nothing that they say makes the returned function fail, or moves the template's words; but a
    conversation of several turns needs a chat template, and raises InputError elsewhere, as does
    one whose turns a chat template does not accept, or of which it leaves one out.

    Args:
        template: None: the response right behind the prompt. "chat": the tokenizer's chat template,
            a prompt alone as the user's turn and the response as the assistant's. It may take white
            space off their ends; where it does anything else to one of them, or refuses it, its
            place holds what was said as it is. It may leave all prompts out. Else a text that
            holds {response} once and {prompt} at most once; all of it is plain text, special tokens
            that it spells included. Where it and the response both have white space between them,
            the response's is read.
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
    return ChatRender(ChatWriter(tokenizer, key))


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
