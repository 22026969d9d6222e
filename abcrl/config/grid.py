"""Where the cells of a comparison run, and how many at a time. Changes no result."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .base import Group

_ADDRESS = re.compile(r"[^\s/:]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}")


class GridConfig(Group):
    """Where cells run, and how many at the same time; a later call may choose otherwise."""

    jobs: Annotated[int, Field(ge=1)] | None = None
    """Cells at the same time (--jobs); null: one per CPU core, one on a GPU; with engine ray, as
    many as the cluster takes."""
    engine: Literal["local", "ray"] = "local"
    """local (processes of this machine) | ray (tasks of a Ray cluster, whose run folders come
    back)."""
    address: str | None = None
    """ray: HOST:PORT of the cluster, of which this machine is a node; null: the one that
    RAY_ADDRESS names or that runs here, else one is started here for as long as it is needed."""

    @model_validator(mode="after")
    def _address_is_one(self) -> Self:
        if self.address is None:
            return self
        if self.engine != "ray":
            raise ValueError(
                f"address must be left out with engine {self.engine}, received {self.address!r}; "
                f"remove it, or choose --engine ray"
            )
        if not _ADDRESS.fullmatch(self.address):
            raise ValueError(
                f"address must be HOST:PORT, as `ray start` prints it, received {self.address!r}; "
                f"run this command on a node of the cluster, with the address of its head"
            )
        return self
