"""Hashes tell what was changed, and nothing else."""

import hashlib
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abcrl.storage import digests
from abcrl.storage.digests import file_size, hash_code, hash_start


@given(content=st.binary(max_size=40), length=st.integers(0, 50), more=st.binary(max_size=9))
def test_the_start_of_a_file_is_hashed_as_its_bytes_and_can_be_gone_on_with(
    tmp_path_factory, content, length, more
):
    file = tmp_path_factory.mktemp("digests") / "file"
    file.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digests, "_BLOCK", 7)
        digest = hash_start(file, length)
    assert digest.digest() == hashlib.blake2b(content[:length]).digest()
    digest.update(more)
    assert digest.digest() == hashlib.blake2b(content[:length] + more).digest()


def test_a_file_that_is_not_there_is_empty(tmp_path):
    assert file_size(tmp_path / "none") == 0
    assert hash_start(tmp_path / "none", 0).digest() == hashlib.blake2b().digest()


@pytest.fixture
def package(tmp_path) -> Path:
    package: Path = tmp_path / "package"
    (package / "room").mkdir(parents=True)
    (package / "__init__.py").write_text("a = 1\n")
    (package / "room" / "code.py").write_text("b = 2\n")
    (package / "room" / "defaults.yaml").write_text("c: 3\n")
    return package


def test_code_is_the_same_wherever_it_lies_whatever_lies_beside_it(package, tmp_path):
    before = hash_code(package)
    copy = Path(shutil.copytree(package, tmp_path / "elsewhere" / "copy"))
    (copy / "__pycache__").mkdir()
    (copy / "__pycache__" / "code.cpython-311.pyc").write_bytes(b"compiled")
    (copy / "README.md").write_text("told")
    assert hash_code(copy) == before


def _edit(package: Path) -> None:
    (package / "room" / "code.py").write_text("b = 3\n")


def _edit_defaults(package: Path) -> None:
    (package / "room" / "defaults.yaml").write_text("c: 4\n")


def _add(package: Path) -> None:
    (package / "room" / "empty.py").touch()


def _rename(package: Path) -> None:
    (package / "room" / "code.py").rename(package / "room" / "other.py")


def _move_a_line(package: Path) -> None:
    (package / "__init__.py").write_text("")
    (package / "room" / "code.py").write_text("a = 1\nb = 2\n")


@pytest.mark.parametrize("change", [_edit, _edit_defaults, _add, _rename, _move_a_line])
def test_other_code_is_seen(package, change):
    before = hash_code(package)
    change(package)
    assert hash_code(package) != before
