"""A comparison that is refused takes nothing with it: what the user keeps in the folder stays."""

from pathlib import Path

import pytest

# Each shows itself only in the process of the first run, when the folder has been written to.
NO_SUCH_MODEL = ["--set", "sft.model.architecture=lama"]
NO_SUCH_OPTION = ["--set", "sft.model.options={foo: 1}"]

MINE = {
    "thesis.txt": b"five years of work\r\n\xff",
    "figures/learning-curves.png": b"\x89PNG",
    ".hidden/config.yaml": b"mine: true\n",
}


def keep(folder: Path) -> None:
    for name, content in MINE.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def contents() -> dict[Path, bytes | None]:
    """Every path below the current folder, with what is in it; None for a folder."""
    return {path: path.read_bytes() if path.is_file() else None for path in Path().rglob("*")}


@pytest.mark.parametrize(("output", "wrong"), [(".", NO_SUCH_MODEL), ("work", NO_SUCH_OPTION)])
def test_what_lies_in_the_folder_survives_byte_for_byte(abcrl, output, wrong):
    keep(Path(output))
    before = contents()
    answer = abcrl("compare", "--output", output, *wrong)
    assert answer.code == 2
    assert answer.errors.splitlines()[-1].startswith("abcrl: sft: model.")
    assert contents() == before


def test_an_empty_folder_stays_an_empty_folder(abcrl):
    Path("outer/empty").mkdir(parents=True)
    before = contents()
    assert abcrl("compare", "--output", "outer/empty", *NO_SUCH_MODEL).code == 2
    assert contents() == before


def test_only_the_parents_that_were_made_go_with_a_new_folder(abcrl):
    Path("there").mkdir()
    before = contents()
    assert abcrl("compare", "--output", "there/new/inner", *NO_SUCH_MODEL).code == 2
    assert contents() == before


def test_a_comparison_that_was_there_before_stays_as_far_as_it_is(abcrl):
    Path("work").mkdir()
    Path("work/config.yaml").write_text(
        abcrl("compare", "--output", "work", *NO_SUCH_MODEL, "--dry-run").output
    )
    assert abcrl("compare", "--output", "work", *NO_SUCH_MODEL).code == 2
    kept = sorted(path.name for path in Path("work").rglob("*"))
    assert kept == [".lock", "config.yaml", "logs", "sft.txt"]


@pytest.mark.parametrize("name", ["logs", "results.csv", "summary.json", "learning-curves.svg"])
def test_a_folder_with_files_that_would_be_written_over_is_refused(refuse, name):
    line = refuse("compare", "--output", ".", files={name: "mine"})
    assert line.startswith("output: must be new or hold a comparison, received ")
    assert Path(name).read_text() == "mine"
