"""Files and folders of photos on the command line."""

from pathlib import Path

import numpy as np
import pytest

from carclf.errors import UserError
from carclf.inference.photo_files import likeliest_line, photo_files, printable, read_files


def test_files_and_folders_come_in_the_given_order_files_of_a_folder_by_name(tmp_path):
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    for name in (
        "z.jpg",
        "folder/b.jpg",
        "folder/a.png",
        "folder/inner/c.jpg",
        "folder/.DS_Store",
        "folder/d.txt",
        "e.txt",
    ):
        (tmp_path / name).write_bytes(name.encode())
    paths = photo_files(f"{tmp_path / 'z.jpg'}, {tmp_path / 'folder'}, {tmp_path / 'e.txt'}")
    names = [path.relative_to(tmp_path).as_posix() for path in paths]
    assert names == ["z.jpg", "folder/a.png", "folder/b.jpg", "folder/inner/c.jpg", "e.txt"]
    assert [content for _, content in read_files(paths)] == [name.encode() for name in names]


def test_a_comma_in_a_name_splits_no_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a,b.jpg", "a", "c.jpg", "d, e, f.jpg"):
        Path(name).write_bytes(b"x")
    assert photo_files("a,b.jpg") == [Path("a,b.jpg")]
    assert photo_files("c.jpg,a,b.jpg,c.jpg") == [Path(name) for name in ("c.jpg", "a,b.jpg", "c.jpg")]
    assert photo_files("a, d, e, f.jpg ,c.jpg") == [Path(name) for name in ("a", "d, e, f.jpg", "c.jpg")]
    with pytest.raises(UserError, match=r"There is no photo b\.jpg"):
        photo_files("c.jpg,b.jpg")


@pytest.mark.parametrize("name", ["no\0thing", "x" * 5000, "~nobody/x.jpg", "a\nb\x1b[31m.jpg"])
def test_a_name_that_no_file_can_have_is_one_printable_sentence(name):
    with pytest.raises(UserError, match="There is no photo") as caught:
        photo_files(name)
    assert str(caught.value).isprintable()


def test_the_folders_of_programs_hold_no_photos(tmp_path):
    for name in ("a.jpg", "@eaDir/b.jpg", ".thumbnails/c.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert photo_files(str(tmp_path)) == [tmp_path / "a.jpg"]


def test_a_missing_file_is_reported_and_the_others_are_read(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"a")
    (gone, problem), (_, content) = read_files([tmp_path / "gone.jpg", tmp_path / "a.jpg"])
    assert (gone.name, content) == ("gone.jpg", b"a")
    assert isinstance(problem, FileNotFoundError)


def test_a_path_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(UserError, match="There is no photo nowhere"):
        photo_files("nowhere")
    with pytest.raises(UserError, match="has no photo"):
        photo_files(str(tmp_path))


def test_a_line_names_the_likeliest_classes():
    line = likeliest_line(Path("car.jpg"), np.array([0.1, 0.7, 0.2]), class_names=["a", "b", "c"], top=2)
    assert line == "car.jpg   b 70.0 %   c 20.0 %"


def test_a_hostile_name_is_printed_harmlessly():
    assert printable("a\x1b[31m\n.jpg") == r"a\x1b[31m\n.jpg"
