"""Photos of the same picture are found, and no others; similarity does not chain."""

import csv
import hashlib
import io
import itertools
import os
from collections import Counter
from pathlib import Path

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from carclf.convert import scan
from carclf.convert.converter import convert
from carclf.convert.duplicates import LARGEST_GROUP, Group, find_groups, fold_groups, note_on, similar_pairs
from carclf.convert.linkage import alike_groups, picture_groups, scenes_among
from carclf.convert.near_duplicates import perceptual_hash, thumbnail_of
from carclf.convert.options import ConvertOptions
from carclf.convert.photos import Photo
from carclf.convert.same_picture import SAME_PICTURE, STARTS, Picture, _cut, likeness, read_picture
from carclf.convert.scan import PhotoCheck
from carclf.convert.sources import Entry
from carclf.convert.turned_copies import TURNS, turn
from carclf.data.validation import ENCODED, KEPT, validate_photo
from carclf.errors import UserError
from tests.convert.inputs import class_folders, converted, drawn, encoded, opened, write_files

SIZE = (160, 120)
ORIGINALS = 200


def cropped(image: Image.Image, *, left: float, top: float, right: float, bottom: float) -> Image.Image:
    width, height = image.size
    return image.crop(
        (round(left * width), round(top * height), round((1 - right) * width), round((1 - bottom) * height))
    )


COPIES = {
    "cropped by 2 %": lambda image: encoded(cropped(image, left=0.02, top=0.02, right=0.02, bottom=0.02)),
    "cropped by 5 %": lambda image: encoded(cropped(image, left=0.05, top=0.05, right=0.05, bottom=0.05)),
    "a corner cropped": lambda image: encoded(cropped(image, left=0.05, top=0, right=0, bottom=0.05)),
    "recompressed": lambda image: encoded(image, quality=30),
    "half the size": lambda image: encoded(image.resize((image.width // 2, image.height // 2))),
    "larger": lambda image: encoded(image.resize((image.width * 3 // 2, image.height * 3 // 2))),
    "darkened": lambda image: encoded(ImageEnhance.Brightness(image).enhance(0.6)),
    "brightened": lambda image: encoded(ImageEnhance.Brightness(image).enhance(1.4)),
    "grey": lambda image: encoded(image.convert("L")),
    "another format": lambda image: encoded(image, "PNG"),
    "mirrored": lambda image: encoded(ImageOps.mirror(image), quality=60),
}


def picture_of(raw):
    return read_picture(raw, max_side=640, how=KEPT)


def check_of(raw: bytes) -> PhotoCheck:
    stored = validate_photo(raw, max_side=640)
    return PhotoCheck(
        hashlib.sha256(raw).digest(),
        hashlib.sha256(stored.encoded).digest(),
        len(stored.encoded),
        stored.height,
        stored.width,
        thumbnail=thumbnail_of(stored.reduced, height=stored.height, width=stored.width),
    )


def photo(number: int, *, split: str = "train", category: str = "0") -> Photo:
    name = f"{number}.jpg"
    return Photo(name, split, category if split != "test" else "", Entry(name, 0, name, 0))


def grouped(raws: list[bytes]) -> list[Group]:
    return find_groups([photo(n) for n in range(len(raws))], [check_of(raw) for raw in raws], near=True)


def thumbnails_of(raws: list[bytes]) -> np.ndarray:
    return np.stack([np.frombuffer(check_of(raw).thumbnail, np.uint8) for raw in raws])


def pairs_in(thumbnails: np.ndarray) -> set[tuple[int, int]]:
    (pairs, _), _ = similar_pairs(thumbnails, np.ones(len(thumbnails), np.float32), None)
    return {(int(one), int(other)) for one, other in pairs}


@pytest.fixture(scope="module")
def originals() -> list[bytes]:
    return [drawn(number, size=SIZE) for number in range(ORIGINALS)]


@pytest.fixture(scope="module")
def original_thumbnails(originals) -> np.ndarray:
    return thumbnails_of(originals)


def reference_hash(thumbnail: np.ndarray) -> int:
    bits = imagehash.phash(Image.fromarray(thumbnail), hash_size=8, highfreq_factor=2).hash.reshape(-1)
    return int("".join("01"[int(bit)] for bit in bits), 2)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), contrast=st.integers(4, 255))
def test_the_hash_is_that_of_imagehash(seed, contrast):
    thumbnails = np.random.default_rng(seed).integers(0, contrast, (3, 16, 16)).astype(np.uint8)
    assert perceptual_hash(thumbnails).tolist() == [reference_hash(thumbnail) for thumbnail in thumbnails]


def test_the_hash_of_photos_is_that_of_imagehash(original_thumbnails):
    thumbnails = original_thumbnails.reshape(-1, 16, 16)
    assert perceptual_hash(thumbnails).tolist() == [reference_hash(thumbnail) for thumbnail in thumbnails]


def test_different_photos_are_not_alike(original_thumbnails):
    assert pairs_in(original_thumbnails) == set()


@pytest.mark.parametrize("kind", COPIES)
def test_copies_are_found_among_other_photos(originals, original_thumbnails, kind):
    copies = thumbnails_of([COPIES[kind](opened(raw)) for raw in originals])
    found = pairs_in(np.concatenate([original_thumbnails, copies]))
    wanted = {(number, ORIGINALS + number) for number in range(ORIGINALS)}
    assert len(found & wanted) >= 0.95 * ORIGINALS
    assert len(found - wanted) <= 0.01 * ORIGINALS


def test_planted_copies_are_grouped_with_their_originals_and_with_nothing_else(originals):
    make = list(COPIES.values())
    copies = [make[number % len(make)](opened(raw)) for number, raw in enumerate(originals[:100])]
    groups = grouped(originals + copies)
    assert {group.kind for group in groups} == {"near"}
    assert len(groups) >= 95
    assert all(group.members[1] == ORIGINALS + group.members[0] for group in groups)


@pytest.mark.parametrize("copies", [5, 9, 24, 40])
def test_of_many_copies_of_one_picture_every_two_are_alike(original_thumbnails, copies):
    found = pairs_in(np.concatenate([original_thumbnails, np.repeat(original_thumbnails[:1], copies - 1, axis=0)]))
    assert len(found) >= 0.99 * copies * (copies - 1) / 2


def test_photos_without_detail_are_like_nothing():
    flat = [encoded(Image.new("RGB", SIZE, (grey, grey, grey))) for grey in range(0, 250, 10)]
    assert grouped(flat) == []


def test_equal_bytes_are_exact_copies_and_search_can_be_switched_off(originals):
    raws = [originals[0], originals[1], originals[0], COPIES["recompressed"](opened(originals[1]))]
    photos, checks = [photo(n) for n in range(4)], [check_of(raw) for raw in raws]
    assert find_groups(photos, checks, near=False) == [Group("exact", (0, 2))]
    assert find_groups(photos, checks, near=True) == [Group("exact", (0, 2)), Group("near", (1, 3))]


def test_copies_of_copies_stand_in_one_near_group(originals):
    copy = COPIES["recompressed"](opened(originals[0]))
    groups = grouped([originals[0], copy, originals[0], originals[1], copy])
    assert groups == [Group("exact", (0, 2)), Group("exact", (1, 4)), Group("near", (0, 1, 2, 4))]


def components(pairs: set[tuple[int, int]]) -> list[set[int]]:
    found: list[set[int]] = []
    for pair in pairs:
        touched = [group for group in found if group & set(pair)]
        found = [group for group in found if group not in touched] + [set(pair).union(*touched)]
    return found


def test_chains_of_likeness_do_not_grow(originals):
    one, other = (opened(raw).convert("RGB").resize(SIZE) for raw in originals[:2])
    chain = [encoded(Image.blend(one, other, step / 11)) for step in range(12)]
    pairs = pairs_in(thumbnails_of(chain))
    assert set(range(12)) in components(pairs)  # chained from photo to photo, they would be one group
    groups = grouped(chain)
    assert len(groups) > 1
    for group in groups:
        assert set(itertools.combinations(group.members, 2)) <= pairs


@pytest.mark.parametrize("copies", [LARGEST_GROUP, LARGEST_GROUP + 1])
def test_a_group_above_the_largest_is_not_kept_together(copies):
    groups = [Group("near", tuple(range(3, 3 + copies)))]
    numbers = fold_groups(groups, photos=copies + 10)
    assert numbers[:3] == [0, 1, 2]
    together = len(set(numbers[3 : 3 + copies])) == 1
    assert together == (copies <= 20)
    assert len(set(numbers)) == copies + 10 - (copies - 1 if together else 0)


@pytest.mark.parametrize(
    ("kinds", "note"),
    [
        ([("train", "0"), ("train", "0")], ""),
        ([("train", "0"), ("test", "")], "train/test leak"),
        ([("extra", "0"), ("test", "")], "train/test leak"),
        ([("test", ""), ("test", "")], ""),
        ([("train", "0"), ("train", "1")], "different labels"),
        ([("train", "1"), ("extra", "0"), ("test", "")], "train/test leak; different labels"),
        ([("train", "0")] * 21, "too large to keep together"),
        ([("train", "0")] * 20, ""),
    ],
)
def test_what_a_reader_should_know_of_a_group_is_noted(kinds, note):
    photos = [photo(n, split=split, category=category) for n, (split, category) in enumerate(kinds)]
    assert note_on(Group("near", tuple(range(len(kinds)))), photos) == note


def duplicates(manifest) -> list[dict[str, str]]:
    content = manifest.read_list(manifest.lists["duplicates"]).decode()
    assert (Path(manifest.directory) / "duplicates.csv").read_text() == content
    return list(csv.DictReader(io.StringIO(content, newline="")))


def test_a_data_set_lists_its_duplicates_and_loses_none(tmp_path):
    photos = [drawn(number, size=SIZE) for number in range(30)]
    files = {f"train/{number % 3}/{number}.jpg": raw for number, raw in enumerate(photos)}
    files |= {"train/0/copy.jpg": photos[0], "train/1/again.jpg": COPIES["recompressed"](opened(photos[0]))}
    files |= {"test/leak.jpg": COPIES["cropped by 5 %"](opened(photos[5])), "test/other.jpg": drawn(77, size=SIZE)}
    manifest = converted(write_files(tmp_path / "cars", files), tmp_path / "out", folds=5)
    rows = duplicates(manifest)
    assert [(row["group"], row["kind"], row["split"], row["id"], row["category"], row["note"]) for row in rows] == [
        ("0", "exact", "train", "0.jpg", "0", ""),
        ("0", "exact", "train", "copy.jpg", "0", ""),
        ("1", "near", "test", "leak.jpg", "", "train/test leak"),
        ("1", "near", "train", "5.jpg", "2", "train/test leak"),
        ("2", "near", "train", "0.jpg", "0", "different labels"),
        ("2", "near", "train", "again.jpg", "1", "different labels"),
        ("2", "near", "train", "copy.jpg", "0", "different labels"),
    ]
    folds = {row["id"]: row["fold"] for row in rows}
    assert folds["0.jpg"] == folds["copy.jpg"] == folds["again.jpg"]
    assert folds["leak.jpg"] == ""
    assert (manifest.photos("train"), manifest.photos("test")) == (32, 2)


@pytest.mark.parametrize("search", [True, False])
def test_alike_photos_stay_in_one_fold_if_they_are_searched(tmp_path, search):
    files = {}
    for number in range(12):
        raw = drawn(number, size=SIZE)
        label = number % 2
        files |= {f"{label}/{number}.jpg": raw, f"{label}/{number} again.jpg": COPIES["recompressed"](opened(raw))}
    manifest = converted(write_files(tmp_path / "cars", files), tmp_path / "out", folds=3, near_duplicates=search)
    ids = manifest.read_ids("train")
    fold = dict(zip(ids["id"], ids["fold"], strict=True))
    together = sum(fold[f"{number}.jpg"] == fold[f"{number} again.jpg"] for number in range(12))
    assert (together == 12) == search
    assert set(Counter(ids["fold"]).values()) == {8}


def scene(texture: int) -> bytes:
    """Returns one of several pictures of a scene: the same light and shapes, and other fine detail."""
    shapes = Image.fromarray(np.random.default_rng(3).integers(40, 216, (12, 16, 3), np.uint8))
    pixels = np.asarray(shapes.resize(SIZE, Image.Resampling.BICUBIC), np.float64)
    grain = np.random.default_rng(texture).normal(0, 14, (SIZE[1] // 2, SIZE[0] // 2, 1)).repeat(2, 0).repeat(2, 1)
    return encoded(Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8)), quality=90)


def test_pictures_of_one_scene_stay_in_one_fold_and_are_no_duplicates(tmp_path, capsys):
    files = {f"{n % 3}/{n}.jpg": drawn(n, size=SIZE) for n in range(12)}
    files |= {"0/scene one.jpg": scene(1), "1/scene two.jpg": scene(2), "2/scene three.jpg": scene(3)}
    files["1/again.jpg"] = COPIES["cropped by 2 %"](opened(scene(3)))
    folder = write_files(tmp_path / "cars", files)
    rows = duplicates(converted(folder, tmp_path / "out", folds=3))
    scenes = [row for row in rows if row["kind"] == "scene"]
    assert [(row["id"], row["note"]) for row in scenes] == [
        ("again.jpg", ""), ("scene one.jpg", ""), ("scene three.jpg", ""), ("scene two.jpg", "")
    ]  # fmt: skip
    assert len({row["fold"] for row in scenes}) == 1
    near = [(row["id"], row["note"]) for row in rows if row["kind"] == "near"]
    assert near == [("again.jpg", "different labels"), ("scene three.jpg", "different labels")]
    capsys.readouterr()
    assert convert(ConvertOptions(input=str(folder), folds=3, workers=1, dry_run=True)) is None
    assert (
        "2 photos are duplicates, in 1 group.\n1 group of other photos show one scene each.\n"
        in capsys.readouterr().out
    )


def alike_cluster(count: int, *, first: int = 0) -> list[tuple[int, int]]:
    """Returns the pairs of photos that all look alike, neighbours first."""
    return sorted(itertools.combinations(range(first, first + count), 2), key=lambda pair: (pair[1] - pair[0], pair[0]))


@pytest.mark.parametrize("most", [0, 1, 5, 7, 1000])
def test_no_more_pairs_are_compared_than_allowed_and_none_twice(most):
    asked: list[tuple[int, int]] = []

    def compare(pairs):
        asked.extend(pairs)
        return [False] * len(pairs)

    assert picture_groups(alike_cluster(8), compare, most=most) == []
    assert len(asked) == len(set(asked)) == min(most, 22)  # each round the next neighbours, one further away


def test_every_photo_is_first_compared_with_the_one_that_it_resembles_most():
    rounds: list[list[tuple[int, int]]] = []
    picture = [0, 1, 0, 1, 2, 2]

    def compare(pairs):
        rounds.append(pairs)
        return [picture[one] == picture[other] for one, other in pairs]

    pairs = [(0, 2), (1, 3), (0, 1), (2, 3), (1, 4), (4, 5), (3, 5), (0, 3), (1, 2)]
    assert picture_groups(pairs, compare, most=100) == [[0, 2], [1, 3], [4, 5]]
    assert rounds[0] == [(0, 2), (1, 3), (1, 4), (4, 5)]
    assert rounds[1] == [(0, 1)]


@given(st.lists(st.integers(0, 4), max_size=12), st.lists(st.integers(0, 4), max_size=12))
def test_a_scene_is_a_group_that_no_picture_holds(first, second):
    alike, pictures = groups_by_number(first), groups_by_number(second)
    assert scenes_among(alike, pictures) == [g for g in alike if not any(set(g) <= set(p) for p in pictures)]


def groups_by_number(numbers: list[int]) -> list[list[int]]:
    """Returns the groups of two and more places that hold the same number."""
    groups = [[place for place, number in enumerate(numbers) if number == wanted] for wanted in range(5)]
    return sorted(group for group in groups if len(group) > 1)


def test_scenes_are_found_among_as_many_groups_as_a_million_photos_may_have():
    alike = [[2 * number, 2 * number + 1] for number in range(200_000)]  # all pairs of groups would take hours
    assert scenes_among(alike, alike[:-2]) == alike[-2:]
    assert scenes_among(alike, []) == alike


@pytest.mark.parametrize("pictures", [1, 2, 5])
def test_copies_are_found_among_many_photos_of_one_scene(pictures):
    picture = np.random.default_rng(pictures).integers(0, pictures, 20)
    pairs = sorted(alike_cluster(20), key=lambda pair: picture[pair[0]] != picture[pair[1]])  # copies resemble most
    groups = picture_groups(pairs, lambda asked: [picture[one] == picture[other] for one, other in asked], most=190)
    assert groups == sorted(np.flatnonzero(picture == number).tolist() for number in range(pictures))


@pytest.mark.parametrize("height", range(226, 242))
def test_the_thumbnail_of_a_mirrored_photo_is_the_mirrored_thumbnail(height):
    """Whatever part of the last row and column is the photo's, where it is decoded at a fraction of its size."""
    gradient = np.linspace(0, 255, 301)[None, :, None] * np.linspace(0.2, 1, height)[:, None, None]
    pixels = np.repeat(gradient, 3, axis=2).astype(np.uint8)
    one, mirrored = (check_of(encoded(Image.fromarray(side), quality=95)) for side in (pixels, pixels[:, ::-1]))
    thumbnails = [np.frombuffer(check.thumbnail, np.uint8).reshape(16, 16).astype(int) for check in (one, mirrored)]
    assert np.abs(thumbnails[0] - thumbnails[1][:, ::-1]).max() <= 2


@pytest.mark.parametrize("side", [32, 37, 38, 40, 48, 57, 75])
def test_both_sides_of_a_thumbnail_are_reduced_alike(side):
    reduced = np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)
    one, mirrored = (thumbnail_of(pixels, height=side, width=side) for pixels in (reduced, reduced[:, ::-1].copy()))
    one, mirrored = (np.frombuffer(thumbnail, np.uint8).reshape(16, 16).astype(int) for thumbnail in (one, mirrored))
    assert np.abs(one - mirrored[:, ::-1]).max() <= 1


def turned(image: Image.Image, degrees: float) -> Image.Image:
    """Returns the image turned about its centre, its edge repeated."""
    width, height = image.size
    room = width // 2
    larger = Image.fromarray(
        np.pad(np.asarray(image.convert("RGB")), ((room, room), (room, room), (0, 0)), mode="edge")
    )
    return larger.rotate(degrees, Image.Resampling.BICUBIC).crop((room, room, room + width, room + height))


@pytest.mark.parametrize("number", range(len(TURNS)))
def test_a_turned_thumbnail_is_that_of_the_turned_photo(originals, number):
    for raw in originals[:10]:
        image = opened(raw)
        copy = check_of(encoded(turned(image, np.degrees(TURNS[number])), quality=95)).thumbnail
        before = np.frombuffer(check_of(raw).thumbnail, np.uint8).reshape(1, 16, 16)
        found = turn(before, np.array([image.width / image.height]), np.array(TURNS[number : number + 1]))[0]
        wanted = np.frombuffer(copy, np.uint8).reshape(16, 16).astype(float)
        assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.93


@pytest.mark.parametrize("degrees", [-12, -9, -5, 3, 6, 11])
def test_turned_copies_stay_with_their_photos_and_no_others(originals, degrees):
    photos = [*originals[:60], *(encoded(turned(opened(raw), degrees), quality=85) for raw in originals[:20])]
    groups = grouped(photos)
    wanted = {(number, 60 + number) for number in range(20)}
    found = {group.members for group in groups}
    assert len(found & wanted) >= 19
    assert not found - wanted


def test_pictures_that_are_not_all_alike_stay_apart():
    groups = picture_groups([(0, 1), (1, 2), (2, 3)], lambda pairs: [True] * len(pairs), most=100)
    assert groups == alike_groups([(0, 1), (1, 2), (2, 3)]) == [[0, 1], [2, 3]]


@pytest.mark.parametrize("seed", range(4))
def test_crops_of_any_margins_up_to_six_hundredths_are_the_same_picture(originals, seed):
    rng, found = np.random.default_rng(seed), []
    for raw in originals[:24]:
        left, top, right, bottom = rng.uniform(0, 0.06, 4)
        cut = encoded(cropped(opened(raw), left=left, top=top, right=right, bottom=bottom))
        found.append(likeness(picture_of(raw), picture_of(cut)) > SAME_PICTURE)
    assert np.mean(found) >= 0.97


@pytest.mark.parametrize(("down", "across"), [(0, 0), (3, 7), (12, 1), (14, 14)])
def test_the_detail_of_a_coarse_window_is_what_its_blocks_lack(down, across):
    pixels = np.random.default_rng(2).uniform(0, 255, (128, 128)).astype(np.float32)
    halved = pixels.reshape(64, 2, 64, 2).mean(axis=(1, 3))
    window = _cut(*STARTS[down], 32, samples=64) @ halved @ _cut(*STARTS[across], 32, samples=64).T
    detail = window - window.reshape(8, 4, 8, 4).mean(axis=(1, 3)).repeat(4, axis=0).repeat(4, axis=1)
    inside = detail[3:-3, 3:-3] - detail[3:-3, 3:-3].mean()
    found = Picture(pixels).coarse_windows[down, across]
    np.testing.assert_allclose(found, inside / np.linalg.norm(inside), atol=1e-5)
    if down == across == 0:
        np.testing.assert_allclose(Picture(pixels).coarse, found, atol=1e-5)


def test_likeness_is_that_of_the_best_place_and_scale(originals):
    for number, raw in enumerate(originals[:20]):
        picture, mirrored = picture_of(raw), picture_of(COPIES["mirrored"](opened(raw)))
        cut = cropped(opened(raw), left=0.01 * (number % 6), top=0.05, right=0.02, bottom=0.003 * number)
        crop = picture_of(encoded(cut))
        assert likeness(picture, picture) == pytest.approx(1.0)
        assert likeness(picture, mirrored) > SAME_PICTURE
        assert min(likeness(picture, crop), likeness(crop, picture)) > SAME_PICTURE
        assert likeness(picture, picture_of(originals[number + 1])) < 0.8


def test_a_photo_is_compared_as_it_is_stored(originals):
    image = opened(originals[0])
    as_png, turned_over = io.BytesIO(), image.getexif()
    image.save(as_png, "PNG")
    turned_over[0x0112] = 3
    image.transpose(Image.Transpose.ROTATE_180).save(by_tag := io.BytesIO(), "JPEG", exif=turned_over, quality=95)
    for written in (as_png, by_tag):
        found = read_picture(written.getvalue(), max_side=640, how=ENCODED)
        assert likeness(found, picture_of(originals[0])) > 0.97


def test_a_group_too_large_for_one_fold_is_reported_and_spread(tmp_path):
    picture = opened(drawn(0, size=SIZE))
    files = class_folders(6, first=100) | {f"9/{q}.jpg": encoded(picture, quality=q) for q in range(50, 74)}
    manifest = converted(write_files(tmp_path / "cars", files), tmp_path / "out", folds=3)
    rows = duplicates(manifest)
    assert (len(rows), {row["note"] for row in rows}) == (24, {"too large to keep together"})
    assert Counter(row["fold"] for row in rows) == {"0": 8, "1": 8, "2": 8}


@pytest.mark.skipif("CARCLF_PHOTOS" not in os.environ, reason="CARCLF_PHOTOS names no folder of real photos")
def test_the_folds_of_real_photos_are_even(tmp_path):
    manifest = converted(os.environ["CARCLF_PHOTOS"], tmp_path / "out", folds=5, workers=2, on_bad="skip")
    ids = manifest.read_ids("train")
    for label, photos in ids.groupby("label"):
        share = len(photos) / 5
        counts = [int((photos["fold"] == fold).sum()) for fold in range(5)]
        assert all(abs(count - share) <= max(0.05 * share, 1) for count in counts), (label, counts)


def test_the_search_shared_among_processes_finds_the_same(monkeypatch):
    from carclf.workers import Workers

    rng = np.random.default_rng(5)
    thumbnails = rng.integers(0, 256, (1200, 256), dtype=np.uint8)
    thumbnails[600:640] = np.clip(thumbnails[:40].astype(int) + rng.integers(-6, 7, (40, 256)), 0, 255)
    shapes = rng.uniform(0.5, 2, 1200).astype(np.float32)
    thumbnails[640:650] = turn(thumbnails[100:110].reshape(-1, 16, 16), shapes[100:110], np.full(10, TURNS[1])).reshape(
        10, 256
    )
    alone, turned = similar_pairs(thumbnails, shapes, None)
    assert {tuple(pair) for pair in alone[0].tolist()} == {(n, 600 + n) for n in range(40)}
    assert {tuple(pair) for pair in turned[0].tolist()} == {(100 + n, 640 + n) for n in range(10)}
    monkeypatch.setattr("carclf.convert.duplicates.LEAST_SHARED", 1)
    with Workers(2, scan.prepare, (), 640, True) as workers:
        shared = similar_pairs(thumbnails, shapes, workers)
    for one, other in zip([*alone, *turned], [*shared[0], *shared[1]], strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_photo_that_changes_before_it_is_compared_is_named(tmp_path, monkeypatch):
    picture = opened(drawn(0, size=SIZE))
    files = class_folders(6, first=100) | {f"9/{q}.jpg": encoded(picture, quality=q) for q in (60, 80)}
    source = write_files(tmp_path / "cars", files)

    def validated_then_changed(*arguments):
        checks = validate_photos(*arguments)
        (source / "9/60.jpg").write_bytes(b"no photo any more")
        return checks

    validate_photos = scan.validate_photos
    monkeypatch.setattr(scan, "validate_photos", validated_then_changed)
    with pytest.raises(UserError, match=r"9/60\.jpg changed while it was converted: run the same command again"):
        converted(source, tmp_path / "out")
