"""Templates: what a model reads around a prompt and a response."""

import re
from typing import Final

CHAT_TEMPLATE: Final = "chat"
"""The template that stands for the chat template of a model's tokenizer."""


def check_template(template: str | None) -> str | None:
    """Returns a template that can be filled: none, `chat`, or a text with places.

    Raises:
        ValueError: The text has other places, `{response}` not once or `{prompt}` more than once.
    """
    if template is None or template == CHAT_TEMPLATE:
        return template
    unknown = set(re.findall(r"\{(\w+)\}", template)) - {"prompt", "response"}
    if unknown:
        raise ValueError(
            f"must have no other places than {{prompt}} and {{response}}, received "
            f"{{{min(unknown)}}}; correct its name, or write it without braces"
        )
    if template.count("{response}") != 1 or template.count("{prompt}") > 1:
        raise ValueError(
            f"must be {CHAT_TEMPLATE}, or hold {{response}} once and {{prompt}} at "
            f"most once, received {template!r}; for example '{{prompt}}\\n\\n{{response}}'"
        )
    return template


def check_policy_template(template: str | None) -> str | None:
    """Returns a template that a policy can be given: nothing can come after what it writes.

    Raises:
        ValueError: See `check_template`; or the response does not follow the prompt and end it.
    """
    checked = check_template(template)
    if checked in (None, CHAT_TEMPLATE):
        return checked
    if "{prompt}" not in checked or not checked.endswith("{response}"):
        raise ValueError(
            f"must hold {{prompt}} and end in {{response}}, received {template!r}; for example "
            f"'Question: {{prompt}}\\n\\nAnswer:{{response}}'"
        )
    return checked
