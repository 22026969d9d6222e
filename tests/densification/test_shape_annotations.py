"""The shapes in the signatures are true: the tables again, with jaxtyping checking every call."""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
HOOK = "--jaxtyping-packages=abcrl.densification,beartype.beartype"


def test_tables_hold_with_shape_checks_on():
    # A process of its own, as the hook has to be there before the package is imported, and without
    # what only models need. Files whose tests pass wrong shapes on purpose are left out: the hook
    # would refuse them first.
    names = ["test_mode_tables.py", "test_control_modes.py", "test_red.py", "test_bias.py"]
    files = [str(FOLDER / name) for name in names]
    options = ["-q", "-p", "no:cacheprovider", "--noconftest", "--hypothesis-profile=ci", HOOK]
    command = [sys.executable, "-m", "pytest", *options, *files]
    result = subprocess.run(
        command, cwd=FOLDER.parents[1], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout
