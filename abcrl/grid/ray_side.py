"""What Ray runs for the grid on the machines of a cluster, and how it is told where."""

import asyncio
import importlib
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .cluster import load_ray
from .node import Message, Order, run_order, scratch_folder


class Stop:
    """Waits with the tasks, on the machine that has sent them, for the word to stop."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    async def asked(self) -> None:
        """Returns when the tasks are to stop."""
        await self._event.wait()

    async def ask(self) -> None:
        """Asks them to."""
        self._event.set()


def work(order: Order, stop: Any) -> Iterator[Message]:  # noqa: ANN401 - a handle of Ray's
    """Runs a task; it stops too when whoever could ask for it is gone."""
    ray: Any = load_ray()
    asked = stop.asked.remote()
    # Ray gives the CPU of a task away as soon as its main thread waits for anything.
    with ThreadPoolExecutor(1) as aside:
        yield from run_order(
            order,
            lambda part: aside.submit(ray.get, part).result(),
            lambda: bool(aside.submit(ray.wait, [asked], timeout=0).result()[0]),
        )


def clear(scratch: str) -> None:
    """Removes what tasks have left on a machine."""
    shutil.rmtree(scratch_folder(scratch), ignore_errors=True)


def on_node(node: str) -> dict[str, Any]:
    """Returns the options of what must run on one node."""
    strategies = importlib.import_module("ray.util.scheduling_strategies")
    return {"scheduling_strategy": strategies.NodeAffinitySchedulingStrategy(node, soft=False)}
