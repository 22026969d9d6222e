import os
import stat
from pathlib import Path

import pytest

from abcrl.config import InputError
from abcrl.tools.report import write_report
from tests.tools.report.reported import Page, configure, write_comparison

FIGURES = ("learning-curves", "training-path", "paired-differences", "credit-profile")


@pytest.fixture
def folder(tmp_path: Path, tiny_tokenizer) -> Path:
    config = configure(tmp_path / "runs", sweep={"kl.coef": [0.1, 0.2]})
    write_comparison(config, tiny_tokenizer, failed=["rlhf@kl.coef=0.2/seed-1"])
    return tmp_path / "runs"


def test_the_page_and_its_figures_come_into_the_folder(folder):
    before = set(folder.iterdir())
    page = write_report(folder)
    assert page == folder / "report.html"
    figures = {f"{name}.{kind}" for name in (*FIGURES, "sweep-kl.coef") for kind in ("png", "svg")}
    assert {path.name for path in set(folder.iterdir()) - before} == {"report.html", *figures}
    text = page.read_text(encoding="utf-8")
    parsed = Page(text)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert parsed.tags.count("figure class") + parsed.tags.count("figure") == 5
    assert "step 2: <b>loss</b> is nan" in parsed.text_of("li")
    assert write_report(folder).read_text(encoding="utf-8") == text


def test_elsewhere_it_is_one_file_and_the_folder_stays_as_it_was(folder, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    (tmp_path / "out").mkdir()
    page = write_report(folder, tmp_path / "out" / "page.html")
    assert [path.name for path in page.parent.iterdir()] == ["page.html"]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_page_that_cannot_be_written_is_refused(folder, tmp_path):
    os.mkfifo(tmp_path / "pipe.html")
    (tmp_path / "loop.html").symlink_to(tmp_path / "loop.html")
    (tmp_path / "null.html").symlink_to("/dev/null")
    absent = tmp_path / "absent" / "page.html"
    names = ("pipe.html", "loop.html", "null.html", "runs")
    for output in (tmp_path, absent, *(tmp_path / name for name in names)):
        with pytest.raises(InputError, match="output: must be a file that can be written, rec"):
            write_report(folder, output)
    assert not list(tmp_path.rglob("*.tmp"))
    assert stat.S_ISFIFO((tmp_path / "pipe.html").stat().st_mode)


def test_no_file_is_replaced_that_is_no_page(folder, tmp_path):
    before = (folder / "config.yaml").read_bytes()
    (tmp_path / "link.html").symlink_to(folder / "config.yaml")
    for output in (folder / "config.yaml", tmp_path / "link.html", tmp_path / "page.txt"):
        with pytest.raises(InputError, match=r"output: must be a file whose name ends in \.html"):
            write_report(folder, output)
    assert (folder / "config.yaml").read_bytes() == before


def test_what_a_link_points_to_is_written_and_the_link_stays(folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "link.html").symlink_to(tmp_path / "out" / "page.HTML")
    assert write_report(folder, tmp_path / "link.html") == tmp_path / "link.html"
    assert (tmp_path / "link.html").is_symlink()
    assert "<title>" in (tmp_path / "out" / "page.HTML").read_text(encoding="utf-8")
