"""A disk that takes no more in mid-run: an end with its reason, and no hang; later it goes on."""

import resource
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from abcrl.config import to_yaml
from abcrl.storage import read_reason, read_rows, read_status
from tests.cli.stopping import wait_for_rows
from tests.grid.processes import holder
from tests.stages.comparisons import on, results

pytestmark = pytest.mark.slow

STEPS = 40


@pytest.fixture
def compare(start, tiny_runs, tmp_path):
    """compare(*flags): runs two cells at once, with a checkpoint after every step."""
    often = {"ppo__evaluation__interval": 20, "ppo__checkpoint__interval": 1}
    config = on(tiny_runs, tmp_path / "comparison", seeds=[0], ppo__steps=STEPS, **often)
    (tmp_path / "c.yaml").write_text(to_yaml(config))
    words = ["compare", "--config", tmp_path / "c.yaml", "--jobs", 2]
    return lambda *flags: start(*words, *flags)


@pytest.fixture
def folders(tmp_path):
    return [tmp_path / "comparison" / "cells" / arm / "seed-0" for arm in ("abc", "rlhf")]


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a disk of its own where the comparison will be."""
    place = tmp_path / "comparison"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(place)]
    try:
        subprocess.run(mount, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a disk")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def assert_whole(folder: Path) -> None:
    assert read_status(folder) == "finished"
    assert [row["step"] for row in read_rows(folder, "metrics")] == list(range(STEPS + 1))


def test_files_that_may_grow_no_more_fail_one_cell(compare, folders, tmp_path):
    limited, other = folders
    running = compare()
    wait_for_rows(*folders)
    pid = holder(limited / ".lock", running.group)
    assert pid is not None
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (20_000, 20_000))
    code, said = running.end()
    assert code == 1, said
    assert (read_status(limited), read_status(other)) == ("failed", "finished")
    reason = read_reason(limited)
    assert "File too large" in reason
    assert f"abc/seed-0 failed: {reason}" in said
    rows = {row["arm"]: row for row in results(tmp_path / "comparison")}
    assert (rows["abc"]["reason"], rows["rlhf"]["status"]) == (reason, "finished")

    code, said = compare("--retry-failed").end()
    assert code == 0, said
    for folder in folders:
        assert_whole(folder)


def test_a_full_disk_ends_the_comparison_and_with_room_it_goes_on(small_disk, compare, folders):
    running = compare()
    wait_for_rows(*folders)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while running.process.poll() is None:  # to the last byte, also what cells make room with
            file.write(bytes(4096))
    code, said = running.end()
    assert code == 1, said
    for cell in ("abc/seed-0", "rlhf/seed-0"):
        [reason] = [line for line in said if line.startswith(f"{cell} failed: ")]
        assert "No space left on device" in reason

    filler.unlink()
    code, said = compare("--retry-failed").end()
    assert code == 0, said
    for folder in folders:
        assert_whole(folder)
