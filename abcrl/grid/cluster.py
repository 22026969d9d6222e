"""The connection to a Ray cluster, or to one that is started here for as long as it is needed."""

import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from abcrl import signals
from abcrl.config.errors import InputError

ANSWER_SECONDS = 15.0
"""How long a cluster may take to answer; Ray by itself would try for minutes."""


@dataclass(frozen=True)
class Needs:
    """What each task takes of a node while it runs."""

    cpus: int = 1
    gpu: bool | None = False
    """None: a GPU if any node has one."""


def load_ray() -> ModuleType:
    """Returns the module.

    Raises:
        InputError: Ray is not installed.
    """
    # No news to the makers of Ray, and none of its own on the terminal.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise InputError(
            "grid.engine: must be local, or ray where Ray is installed, received ray; "
            'pip install "abcrl[ray]"'
        ) from None


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Connects this process to a Ray cluster for the block.

    Args:
        address: HOST:PORT of the cluster; None: the one that RAY_ADDRESS names or that runs on this
            machine, else one is started here and ended with the block. A connection that the
            process has already is used, and left as it is.

    Raises:
        InputError: Ray is not installed, or no cluster answers at the address.
    """
    ray = load_ray()
    if ray.is_initialized():
        yield
        return
    _silence(ray)
    with _signals_kept():
        _connect(ray, address or os.environ.get("RAY_ADDRESS") or None)
    try:
        yield
    finally:
        with undisturbed():
            ray.shutdown()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Puts off, until the end of the block, what a command repeats until it has been stopped."""
    with signals.blocked([signal.SIGALRM] if hasattr(signal, "SIGALRM") else []):
        yield


def fit(needs: Needs) -> dict[str, Any]:
    """Returns the options of a Ray task with these needs.

    Raises:
        InputError: No node of the cluster has that much.
    """
    nodes = [node["Resources"] for node in load_ray().nodes() if node["Alive"]]
    gpu = any(node.get("GPU", 0) >= 1 for node in nodes) if needs.gpu is None else needs.gpu
    for node in nodes:
        if node.get("CPU", 0) >= needs.cpus and node.get("GPU", 0) >= gpu:
            return {"num_cpus": needs.cpus, "num_gpus": int(gpu)}
    has = "; ".join(f"{node.get('CPU', 0):g} and {node.get('GPU', 0):g}" for node in nodes)
    raise InputError(
        f"grid.engine: a node of the Ray cluster must have {needs.cpus} CPUs and {int(gpu)} GPUs "
        f"for each cell, received nodes with {has}; lower machine.threads, choose another "
        f"machine.device, or add such a node"
    )


def _connect(ray: ModuleType, address: str | None) -> None:
    quiet = {"log_to_driver": False, "logging_level": "CRITICAL"}
    problem = _why_no_answer(address)
    if problem and address is not None:
        raise _unreachable(address, problem)
    if problem:
        ray.init(address="local", include_dashboard=False, **quiet)
        return
    try:
        ray.init(address=address or "auto", **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:  # say, of another version of Ray
        raise _unreachable(address or "auto", str(error)) from None


def _why_no_answer(address: str | None) -> str:
    """Asks the cluster in a process of its own, which can be ended when no answer comes.

    Args:
        address: None: the cluster of this machine, if there is one.
    """
    question = [sys.executable, "-m", "ray.scripts.scripts", "health-check"]
    question += [] if address is None else ["--address", address]
    try:
        answer = subprocess.run(question, capture_output=True, timeout=ANSWER_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer in {ANSWER_SECONDS:.0f} seconds"
    return "no healthy cluster" if answer.returncode else ""


def _unreachable(address: str, reason: str) -> InputError:
    reason = " ".join(reason.split())[:300]
    return InputError(
        f"grid.address: must be HOST:PORT of a Ray cluster of which this machine is a node, "
        f"received {address} ({reason}); see `ray status`, or leave it out to run Ray on this "
        f"machine alone"
    )


def _silence(ray: ModuleType) -> None:
    """Keeps what Ray says of its nodes off the terminal; whoever follows the tasks says it."""
    worker = vars(ray)["_private"].worker
    say_nothing: Callable[..., None] = lambda *_, **__: None  # noqa: E731
    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = say_nothing


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Keeps this process's handlers; Ray's own processes leave the terminal's signals to it."""
    previous = signal.getsignal(signal.SIGTERM)
    try:
        with signals.blocked(signals.FROM_TERMINAL):
            yield
    finally:
        signal.signal(signal.SIGTERM, previous)
