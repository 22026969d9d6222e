"""What a run ran on: versions, machine, code, data."""

import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

from .digests import hash_code

_PACKAGES = (
    "abcrl",
    "torch",
    "transformers",
    "tokenizers",
    "accelerate",
    "datasets",
    "numpy",
    "peft",
    "safetensors",
)

# What the last digits of a run depend on, besides its configuration and what it reads.
_DECISIVE = ("versions", "device", "processor", "code")


def describe_environment(*, device: str, fingerprints: dict[str, str]) -> dict[str, object]:
    """Returns the content of environment.json.

    Args:
        device: Name of the device in use.
        fingerprints: Content hashes of what the run read, by name.
    """
    return {
        "versions": {"python": platform.python_version(), **_versions()},
        "platform": platform.platform(),
        "device": device,
        "processor": _processor(),
        "code": _code(),
        "git_commit": _git_commit(),
        "command": shlex.join(sys.argv),
        "fingerprints": fingerprints,
    }


def describe_code() -> str:
    """Returns which abcrl this process runs: its version, and a hash that edits change."""
    return f"{metadata.version('abcrl')} (code {_code()})"


def differing_environment(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """Returns `name: then there, now now` for what equal runs must have in common.

    Args:
        before: Content of the environment.json of a run.
        now: What `describe_environment` says.
    """
    old, new = _decisive(before), _decisive(now)
    return [
        f"{name}: {old.get(name)} there, {new.get(name)} now"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]


def _decisive(environment: Mapping[str, object]) -> dict[str, object]:
    flat: dict[str, object] = {}
    for name in _DECISIVE:
        value = environment.get(name)
        flat |= value if isinstance(value, dict) else {name: value}
    return flat


def _processor() -> str:
    """The CPU and the instructions that torch's kernels use on it: sums depend on both."""
    import torch  # a comparison's own process has no use for it

    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in _PACKAGES}


@cache  # a process runs the code that it found, whatever becomes of the files
def _code() -> str:
    return hash_code(Path(__file__).resolve().parents[1])


def _git_commit() -> str | None:
    """The commit of the checkout this code runs from; None when it is installed from a wheel.

    It says where to look for the code; which code it was, edits included, `code` says.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
