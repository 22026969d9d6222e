"""What a run ran on: versions, machine, code, data."""

import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

_PACKAGES = ("abcrl", "torch", "transformers", "tokenizers", "accelerate", "datasets", "numpy")


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
        "git_commit": _git_commit(),
        "command": shlex.join(sys.argv),
        "fingerprints": fingerprints,
    }


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in _PACKAGES}


def _git_commit() -> str | None:
    """The commit of the checkout this code runs from; None when it is installed from a wheel."""
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
