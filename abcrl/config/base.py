"""The base of every configuration group: frozen, strict, closed to unknown keys."""

from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from typing import Self


class Group(BaseModel):
    """A frozen group of choices.

    Strict: `true` is no integer and `"5"` is no number. The line under each field is its
    documentation and reaches `--help` and error messages.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        validate_default=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    STAGES: ClassVar[tuple[str, ...]] = ("",)
    """Of a root model: the sections that are stages with data of their own; "" is the root."""

    def replace(self, **changes: object) -> "Self":
        """Returns a validated copy with some fields changed."""
        return type(self).model_validate({**self.__dict__, **changes})
