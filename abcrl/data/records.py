"""What rows become: texts to learn, and pairs of which one answer is better."""

from dataclasses import dataclass

from abcrl.dialogue import PromptText


@dataclass(frozen=True)
class Example:
    """One text, or one response and what it answers.

    Attributes:
        text: What is learnt: a whole text, or the response to `prompt`; "" where a source gives
            prompts alone.
        label: 1 (positive), 0 (negative) or None where labels are not read.
        prompt: What is answered; None: nothing, the text is a whole.
    """

    text: str
    label: int | None = None
    prompt: PromptText | None = None

    @property
    def key(self) -> str:
        """What the division goes by: all answers to a prompt are on its side."""
        return self.text if self.prompt is None or self.prompt.empty else self.prompt.key

    @property
    def content(self) -> str:
        """All that is read but the label, as one text that fingerprints are taken of."""
        return self.text if self.prompt is None else f"{self.prompt.spelling}\0\0{self.text}"


@dataclass(frozen=True)
class Pair:
    """Two responses to one prompt, or two whole texts; the chosen one is the better.

    Attributes:
        prompt: What both answer; None: nothing, the texts are whole.
        chosen: The better one.
        rejected: The worse one.
        margin: How much better, from 0; None where no column says it.
    """

    prompt: PromptText | None
    chosen: str
    rejected: str
    margin: float | None = None

    @property
    def key(self) -> str:
        """What the division goes by: all pairs of a prompt are on its side.

        Where there is none, it is both texts, whichever is the better one.
        """
        if self.prompt is None or self.prompt.empty:
            return "\0".join(sorted((self.chosen, self.rejected)))
        return self.prompt.key

    @property
    def content(self) -> str:
        """All that is read but the margin, as one text that fingerprints are taken of."""
        asked = "" if self.prompt is None else self.prompt.spelling
        return f"{asked}\0\0{self.chosen}\0\0{self.rejected}"


Record = Example | Pair
