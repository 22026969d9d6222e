"""`abcrl report`: a folder in, the path of a page out."""

from pathlib import Path

from tests.tools.report.reported import configure, write_comparison


def test_a_comparison_is_rebuilt_and_its_path_is_printed(abcrl, tmp_path, tiny_tokenizer):
    write_comparison(configure(tmp_path / "runs"), tiny_tokenizer)
    answer = abcrl("report", "runs")
    assert (answer.code, answer.errors) == (0, "")
    assert answer.output == f"{tmp_path / 'runs' / 'report.html'}\n"
    assert "<title>runs: 2 arms, 2 seeds</title>" in Path("runs/report.html").read_text()


def test_the_page_can_go_elsewhere(abcrl, tmp_path, tiny_tokenizer):
    [cell, *_] = write_comparison(configure(tmp_path / "runs"), tiny_tokenizer)
    answer = abcrl("report", cell.folder, "--output", "page.html")
    assert (answer.code, answer.errors) == (0, "")
    assert answer.output == f"{tmp_path / 'page.html'}\n"
    assert not (cell.folder / "report.html").exists()


def test_what_is_no_comparison_is_refused(refuse, tmp_path):
    line = refuse("report", "absent")
    assert line.startswith("folder: must hold a comparison, or a run of ")
    assert refuse("report", ".", "--output", "x.html").startswith("folder: must hold a comparison")
