"""What is packed here is unpacked there, byte for byte, whatever the sizes."""

import multiprocessing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abcrl.grid import shipping
from abcrl.grid.shipping import Part, pack, read_parts, unpack, unpack_once, write_part

NAMES = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def fill(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        file = folder / f"{name}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


@given(files=st.dictionaries(NAMES, st.binary(max_size=12), min_size=1, max_size=5))
def test_a_folder_arrives_as_it_was(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shipping")
    fill(folder / "sent", files)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shipping, "PART_BYTES", 4)
        parts = list(read_parts(folder / "sent"))
        parcel = pack(folder / "sent", lambda part: part)
    assert all(len(part.data) <= 4 for part in parts)
    assert sum(len(part.data) for part in parts) == sum(map(len, files.values()))
    unpack(parcel, folder / "received", lambda part: part)
    assert content(folder / "received") == content(folder / "sent")


def test_a_file_arrives_under_its_name(tmp_path):
    (tmp_path / "texts.jsonl").write_text("{}\n")
    parcel = pack(tmp_path / "texts.jsonl", lambda part: part)
    place = unpack_once(parcel, tmp_path / "shelf", lambda part: part)
    assert place.name == "texts.jsonl"
    assert place.read_text() == "{}\n"


def test_locks_and_drafts_stay_behind_and_links_arrive_as_files(tmp_path):
    fill(tmp_path / "sent", {"a": b"1", ".model.7.tmp/b": b"2"})
    (tmp_path / "sent" / ".lock").touch()
    (tmp_path / "sent" / "link").symlink_to(tmp_path / "sent" / "a.bin")
    unpack(pack(tmp_path / "sent", lambda part: part), tmp_path / "received", lambda part: part)
    assert content(tmp_path / "received") == {"a.bin": b"1", "link": b"1"}
    assert not (tmp_path / "received" / "link").is_symlink()


def test_equal_content_is_unpacked_once_and_other_content_beside_it(tmp_path):
    fetched: list[Part] = []

    def fetch(part: Part) -> Part:
        fetched.append(part)
        return part

    places = []
    for name, data in (("one", b"1"), ("one", b"1"), ("other", b"2")):
        fill(tmp_path / name / "model", {"weights": data})
        parcel = pack(tmp_path / name / "model", lambda part: part)
        places.append(unpack_once(parcel, tmp_path / "shelf", fetch))
    assert places[0] == places[1] != places[2]
    assert len(fetched) == 2
    assert [content(place) for place in places[1:]] == [
        {"weights.bin": b"1"},
        {"weights.bin": b"2"},
    ]


def test_processes_that_unpack_at_the_same_time_find_it_whole(tmp_path):
    fill(tmp_path / "model", {str(number): b"x" * 1000 for number in range(200)})
    parcel = pack(tmp_path / "model", lambda part: part)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        counts = pool.starmap(_unpack_and_count, [(parcel, tmp_path / "shelf")] * 4)
    assert counts == [200] * 4


def _unpack_and_count(parcel, shelf):
    return len(content(unpack_once(parcel, shelf, _itself)))


def _itself(part):
    return part


def test_a_part_that_begins_earlier_takes_back_what_was_there(tmp_path):
    write_part(tmp_path, Part("rows.jsonl", 0, b"one\ntwo\n"))
    write_part(tmp_path, Part("rows.jsonl", 4, b"2\n"))
    assert (tmp_path / "rows.jsonl").read_bytes() == b"one\n2\n"


@pytest.mark.parametrize("name", ["/etc/passwd", "../outside", "final/../../outside"])
def test_no_part_leads_out_of_its_folder(tmp_path, name):
    with pytest.raises(ValueError, match="must lie in it, received"):
        write_part(tmp_path / "folder", Part(name, 0, b""))
