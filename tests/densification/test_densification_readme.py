"""The README of the core runs as it stands."""

import doctest
from pathlib import Path

import abcrl.densification


def test_the_worked_example_of_the_readme():
    readme = Path(abcrl.densification.__file__).with_name("README.md")
    failed, attempted = doctest.testfile(str(readme), module_relative=False)
    assert attempted > 0
    assert failed == 0
