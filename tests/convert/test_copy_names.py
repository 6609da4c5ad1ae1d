"""Copies that augmenting programs wrote are recognised by their names, and stay in one fold."""

from collections import defaultdict

import pytest

from carclf.convert.copy_names import MOST_COPIES, original_of, with_copies
from carclf.convert.photos import Photo
from carclf.convert.sources import Entry
from tests.convert.inputs import converted, drawn, write_files

HASH = "0123456789abcdef0123456789abcdef"


def photo(path: str, *, split: str = "train", category: str = "a", group: str = "") -> Photo:
    return Photo(path, split, category, Entry(path, 0, path, 0), group)


@pytest.mark.parametrize(
    ("stem", "original"),
    [
        (f"IMG_12_jpg.rf.{HASH}", "IMG_12_jpg"),
        ("a.b_png.rf.AbCdEfGhIjKlMnOpQrSt", "a.b_png"),
        ("cats_original_cat.7.jpg_3f2504e0-4f89-11d3-9a0c-0305e82c3301", "cat.7.jpg"),
        ("12_aug_3", "12"),
        ("12-augmented", "12"),
        ("car 7 flipped", "car 7"),
        ("car7_hflip_rot90", "car7"),
        ("x1_rotated_15", "x1"),
        ("IMG_12", ""),
        ("photo (3)", ""),
        ("august_3", ""),
        ("flip_3", ""),
        (f"rf.{HASH}", ""),
    ],
)
def test_the_original_of_a_name(stem, original):
    assert original_of(stem) == original


def groups_of(*photos: Photo) -> list[list[str]]:
    together = defaultdict(list)
    for one in with_copies(photos)[0]:
        if one.group:
            together[one.group].append(one.id)
    return list(together.values())


def test_copies_and_their_original_are_one_group():
    one, other, original = photo("a/7_aug_1.jpg"), photo("a/7_aug_2.png"), photo("a/7.jpg")
    assert groups_of(one, photo("a/8.jpg"), other, original) == [["a/7_aug_1.jpg", "a/7_aug_2.png", "a/7.jpg"]]
    note = with_copies([one, other])[1]
    assert note == (
        "2 photos are copies of 1 picture by their names (first: a/7_aug_1.jpg and a/7_aug_2.png): those of one "
        "picture stay in one fold."
    )


def test_other_classes_splits_and_single_names_are_no_copies():
    assert groups_of(photo("a/7_aug_1.jpg"), photo("b/7_aug_2.jpg", category="b")) == []
    assert groups_of(photo("a/7_aug_1.jpg"), photo("a/7.jpg", split="test")) == []
    assert groups_of(photo(f"a/7.rf.{HASH}.jpg"), photo(f"a/8.rf.{HASH}.jpg")) == []


def test_a_word_that_all_photos_share_is_no_picture():
    assert groups_of(*(photo(f"a/bmw_dark_{number}.jpg") for number in range(5))) == []
    many = [photo(f"a/bmw1_dark_{number}.jpg") for number in range(MOST_COPIES + 1)]
    assert groups_of(*many) == []


def test_a_group_that_was_given_stays():
    one, other = photo("a/7_aug_1.jpg", group="owner"), photo("a/7.jpg")
    assert [found.group for found in with_copies([one, other])[0]] == ["owner", "copies of a/7"]


def test_copies_stay_in_one_fold(tmp_path):
    files = {f"{n % 2}/{n}_jpg.rf.{n:08x}{copy:024x}.jpg": drawn(3 * n + copy) for n in range(18) for copy in range(3)}
    ids = converted(write_files(tmp_path / "cars", files), tmp_path / "out", folds=3).read_ids("train")
    assert len(ids) == 54
    assert (ids.groupby(ids["id"].str.split("_jpg").str[0])["fold"].nunique() == 1).all()
