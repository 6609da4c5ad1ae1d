"""Folds spread every class evenly, keep similar photos together, and do not depend on the input's order."""

import random
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carclf.convert import converter
from carclf.convert.fold_choice import choose_folds
from carclf.convert.folds import bridges, first_files_folds, lone_classes, stratified_folds, stratified_subset
from carclf.convert.inventory import Inventory
from carclf.convert.options import ConvertOptions
from carclf.convert.photos import Photo
from carclf.convert.scan import PhotoCheck
from carclf.convert.sources import Entry, Source
from carclf.convert.validated import Validated
from carclf.convert.verify import verify
from carclf.errors import UserError
from tests.convert.inputs import class_folders, converted, drawn, encoded, opened, write_files

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=120)
FOLDS = st.integers(2, 7)
SEEDS = st.integers(0, 2**32)


def split(labels, *, groups=None, ids=None, folds=3, seed=42, kept=None) -> list[int]:
    return stratified_folds(
        ids=ids or [f"{n}.jpg" for n in range(len(labels))],
        labels=labels,
        groups=range(len(labels)) if groups is None else groups,
        folds=folds,
        seed=seed,
        kept=kept,
    )


def sizes(labels, found, folds) -> dict[int, list[int]]:
    """Returns label → number of photos in each fold."""
    count = Counter(zip(labels, found, strict=True))
    return {label: [count[label, fold] for fold in range(folds)] for label in set(labels)}


@given(labels=LABELS, folds=FOLDS, seed=SEEDS)
def test_every_class_is_spread_within_one_photo(labels, folds, seed):
    found = split(labels, folds=folds, seed=seed)
    assert set(found) <= set(range(folds))
    assert all(max(count) - min(count) <= 1 for count in sizes(labels, found, folds).values())


@given(labels=LABELS, folds=FOLDS, seed=SEEDS, data=st.data())
def test_a_group_is_never_split(labels, folds, seed, data):
    groups = data.draw(st.lists(st.integers(0, 20), min_size=len(labels), max_size=len(labels)))
    found = split(labels, groups=groups, folds=folds, seed=seed)
    assert len(set(zip(groups, found, strict=True))) == len(set(groups))


@given(labels=LABELS, folds=FOLDS, seed=SEEDS, data=st.data())
def test_groups_of_one_class_unbalance_it_by_no_more_than_the_largest(labels, folds, seed, data):
    drawn_groups = data.draw(st.lists(st.integers(0, 9), min_size=len(labels), max_size=len(labels)))
    groups = [10 * label + group for label, group in zip(labels, drawn_groups, strict=True)]
    found = split(labels, groups=groups, folds=folds, seed=seed)
    largest = defaultdict(int)
    for group, size in Counter(groups).items():
        largest[group // 10] = max(largest[group // 10], size)
    assert all(max(count) - min(count) <= largest[label] for label, count in sizes(labels, found, folds).items())


@given(labels=LABELS, folds=FOLDS, seed=SEEDS, data=st.data())
def test_the_order_of_the_input_does_not_matter(labels, folds, seed, data):
    count = len(labels)
    ids = [f"{n}.jpg" for n in range(count)]
    groups = data.draw(st.lists(st.integers(0, 60), min_size=count, max_size=count))
    kept = data.draw(st.dictionaries(st.sampled_from(ids), st.integers(0, folds - 1)))
    order = data.draw(st.permutations(range(count)))
    found = dict(zip(ids, split(labels, groups=groups, folds=folds, seed=seed, kept=kept), strict=True))
    shuffled = [ids[i] for i in order]
    again = split(
        [labels[i] for i in order],
        ids=shuffled,
        groups=[100 - groups[i] for i in order],
        folds=folds,
        seed=seed,
        kept=kept,
    )
    assert dict(zip(shuffled, again, strict=True)) == found


def test_another_seed_is_another_split():
    labels = [n % 3 for n in range(60)]
    splits = {tuple(split(labels, seed=seed)) for seed in range(10)}
    assert len(splits) == 10


@pytest.mark.parametrize(
    ("labels", "groups", "lone"),
    [
        ([0, 0, 1, 1, 2], [0, 1, 2, 3, 4], {2}),  # one photo
        ([0, 0, 1, 1, 2, 2], [0, 1, 2, 3, 4, 4], {2}),  # two photos of the same picture
        ([0, 0, 1, 1, 2], [0, 1, 2, 3, 3], set()),  # one photo, and one that looks the same in another class
        ([0, 0, 1, 1], [0, 1, 2, 3], set()),
        ([0, 1, 2], [0, 1, 2], set()),  # nothing would be left to hold out
        ([], [], set()),
    ],
)
def test_classes_that_one_fold_would_hold_altogether_are_found(labels, groups, lone):
    assert lone_classes(labels=labels, groups=groups) == lone


def test_a_class_of_one_photo_is_always_trained_on(tmp_path, capsys):
    files = class_folders(27) | {f"lone{number}/x{number}.jpg": drawn(100 + number) for number in range(3)}
    manifest = converted(write_files(tmp_path / "cars", files), tmp_path / "out", folds=3, near_duplicates=False)
    found = folds_of(manifest)
    assert {name: fold for name, fold in found.items() if fold < 0} == {"x0.jpg": -1, "x1.jpg": -1, "x2.jpg": -1}
    assert "Note: the classes of one picture only (3: lone0, lone1, lone2) are in no fold" in capsys.readouterr().err
    assert (manifest.photos("train"), manifest.photos("extra")) == (27, 3)
    assert [entry.count for entry in manifest.classes] == [9, 9, 9, 1, 1, 1]
    assert verify(manifest.directory, workers=1).fingerprint == manifest.fingerprint
    kept = converted(
        write_files(tmp_path / "more", files | {"lone0/y.jpg": drawn(200)}), tmp_path / "kept", folds=3,
        near_duplicates=False, keep_folds=f"{manifest.directory}/dataset.json",
    )  # fmt: skip
    assert folds_of(kept).items() >= {name: fold for name, fold in found.items() if name != "x0.jpg"}.items()
    assert folds_of(kept)["x0.jpg"] >= 0


def test_the_split_of_a_seed_never_changes():
    # The folds that people trained on must not change: a different value here needs a new format version.
    assert split([0, 1] * 6, folds=4) == [0, 3, 3, 2, 1, 2, 3, 0, 2, 0, 1, 1]


@given(labels=LABELS, folds=FOLDS, seed=SEEDS, share=st.floats(0, 1), data=st.data())
def test_kept_photos_keep_their_folds_and_new_ones_fill_up(labels, folds, seed, share, data):
    old = split(labels[: int(share * len(labels))], folds=folds, seed=seed)
    kept = {f"{n}.jpg": fold for n, fold in enumerate(old)}
    found = split(labels, folds=folds, seed=data.draw(SEEDS), kept=kept)
    assert found[: len(old)] == old
    assert all(max(count) - min(count) <= 1 for count in sizes(labels, found, folds).values())


def test_a_new_photo_joins_the_fold_of_the_kept_photo_that_it_looks_like():
    for fold in range(5):
        found = split([0] * 30, groups=[0, 0, *range(1, 29)], folds=5, kept={"0.jpg": fold})
        assert found[1] == fold


def test_a_new_photo_between_two_kept_folds_goes_to_the_one_of_most():
    kept = {"0.jpg": 2, "1.jpg": 1, "2.jpg": 1}
    assert split([0] * 4, groups=[7] * 4, kept=kept) == [2, 1, 1, 1]


@pytest.mark.parametrize(
    ("groups", "kept", "said"),
    [
        (
            [0, 0, 0, 1],
            {"a": 0, "b": 3},
            ["c shows the same picture as kept photos of the folds 0, 3: they stay in their folds"],
        ),
        ([0, 0, 0, 0], {"a": 5, "b": 3}, ["c, d shows the same picture as kept photos of the folds 3, 5"]),
        ([0, 0, 0, 1], {"a": 0, "b": 0}, []),
        ([0, 0, 1, 2], {"a": 0, "b": 1}, []),
        ([0, 0, 1, 1], {"a": 0, "c": 1}, []),
        ([0, 0, 1, 1], {}, []),
    ],
)
def test_a_new_photo_that_bridges_two_kept_folds_is_named(groups, kept, said):
    found = bridges(ids=["a", "b", "c", "d"], groups=groups, kept=kept)
    assert len(found) == len(said)
    assert all(sentence.startswith(start) for sentence, start in zip(found, said, strict=True))


@given(labels=LABELS, seed=SEEDS, share=st.floats(0, 1))
def test_a_subset_has_its_size_and_every_class_in_proportion(labels, seed, share):
    ids, size = [f"{n}.jpg" for n in range(len(labels))], int(share * len(labels))
    chosen = stratified_subset(ids=ids, labels=labels, size=size, seed=seed)
    assert len(set(chosen)) == len(chosen) == size
    assert chosen == sorted(chosen)
    for label, count in Counter(labels).items():
        assert abs(sum(labels[i] == label for i in chosen) - size * count / len(labels)) < 1
    again = stratified_subset(ids=ids[::-1], labels=labels[::-1], size=size, seed=seed)
    assert {ids[::-1][i] for i in again} == {ids[i] for i in chosen}


def validation_files(folder: Path, fraction: float) -> set[str]:
    """Returns <class>/<file> of the photos that the notebook held out, from the function that it called."""
    import tensorflow as tf

    generator = tf.keras.preprocessing.image.ImageDataGenerator(validation_split=fraction)
    return set(generator.flow_from_directory(str(folder), subset="validation", shuffle=False).filenames)


@settings(max_examples=12, deadline=None)
@given(
    numbers=st.lists(st.integers(0, 300_000), min_size=40, max_size=60, unique=True),
    fraction=st.sampled_from([0.05, 0.1, 0.15, 0.29, 0.57]),
)
def test_the_first_files_are_those_that_the_notebook_held_out(tmp_path_factory, numbers, fraction):
    folder = tmp_path_factory.mktemp("notebook")
    ids, labels = [f"{number}.jpg" for number in numbers], [number % 3 for number in range(len(numbers))]
    for photo_id, label in zip(ids, labels, strict=True):
        (folder / str(label)).mkdir(exist_ok=True)
        (folder / str(label) / photo_id).touch()
    found = first_files_folds(ids=ids, labels=labels, fraction=fraction)
    assert set(found) <= {0, 1}
    held_out = {f"{label}/{i}" for i, label, fold in zip(ids, labels, found, strict=True) if fold == 0}
    assert held_out == validation_files(folder, fraction)


def test_a_data_set_split_like_the_notebook(tmp_path):
    numbers = random.Random(5).sample(range(100_000), 60)
    files = {f"{index % 2}/{number}.jpg": drawn(index) for index, number in enumerate(numbers)}
    folder = write_files(tmp_path / "train", files)
    manifest = converted(folder, tmp_path / "out", split="first_files:0.1", folds=10, near_duplicates=False)
    ids = manifest.read_ids("train")
    held_out = ids[ids["fold"] == 0]
    assert set(held_out["class_name"] + "/" + held_out["id"]) == validation_files(folder, 0.1)
    assert (manifest.folds, manifest.photos("train", [0]), manifest.photos("train", [1])) == ((0, 1), 6, 54)


def test_a_split_that_holds_out_no_photo_is_refused(tmp_path):
    folder = write_files(tmp_path / "train", class_folders(15))
    with pytest.raises(UserError, match=r"first_files:0.05 holds out no photo, since no class of .*train has 20: give"):
        converted(folder, tmp_path / "out", split="first_files:0.05", near_duplicates=False)
    assert not (tmp_path / "out").exists()


class Compared(str):
    """A text that counts how often any is compared with another for equality."""

    __slots__ = ()
    count = 0

    def __eq__(self, other: object) -> bool:
        Compared.count += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def listed(tmp_path, categories: list[str]) -> Inventory:
    """Returns what is known of training photos of these categories before they are read."""
    photos = (
        Photo(f"{n:04}.jpg", "train", category, Entry(f"{n:04}.jpg", 0, f"{n:04}.jpg", 0))
        for n, category in enumerate(categories)
    )
    return Inventory("a list", (Source(str(tmp_path), "", False),), tuple(photos))


def test_a_photo_finds_the_number_of_its_class_without_a_look_at_each_class(tmp_path, monkeypatch):
    names = [f"class{n:04}" for n in range(300)]
    inventory = listed(tmp_path, [Compared(name) for name in names * 3])
    checks = tuple(PhotoCheck(bytes(32), str(n).encode()) for n in range(900))
    validated = Validated(inventory, inventory.photos, checks, ())
    options = ConvertOptions(input=str(tmp_path), output=str(tmp_path / "out"), folds=3, limit=450)
    monkeypatch.setattr(Compared, "count", 0)
    found = choose_folds(options, validated, categories=list(map(Compared, names)), groups=[])
    assert all({found[n], found[n + 300], found[n + 600]} == {0, 1, 2} for n in range(300))
    assert Compared.count <= 2 * 900
    limited = converter._limited(inventory, options)
    assert (len(limited.photos), len({photo.category for photo in limited.photos})) == (450, 300)
    assert Compared.count <= 8 * 900  # one by one they would be 270,000


@pytest.mark.parametrize("text", ["first_files", "first_files:0", "first_files:1", "first_files:5", "random", ""])
def test_a_split_that_is_not_known_is_refused(text):
    with pytest.raises(UserError, match=r"is not known: write stratified, or first_files:0\.05"):
        ConvertOptions(input="in", output="out", split=text)


def folds_of(manifest) -> dict[str, int]:
    ids = manifest.read_ids("train")
    return dict(zip(ids["id"], ids["fold"], strict=True))


@pytest.mark.parametrize("name", ["dataset.json", ""])
def test_a_data_set_with_more_photos_keeps_the_folds_of_the_old_one(tmp_path, name):
    old = converted(write_files(tmp_path / "old", class_folders(15)), tmp_path / "old set", folds=3)
    folder = write_files(tmp_path / "new", class_folders(30))
    options = {"folds": 3, "seed": 7, "near_duplicates": False}
    without = converted(folder, tmp_path / "without", **options)
    kept = converted(folder, tmp_path / "kept", keep_folds=f"{old.directory}/{name}", **options)
    assert folds_of(kept).items() >= folds_of(old).items()
    assert not folds_of(without).items() >= folds_of(old).items()
    assert set(Counter(zip(kept.read_ids("train")["label"], kept.read_ids("train")["fold"], strict=True)).values()) <= {
        3,
        4,
    }


def test_a_new_photo_between_two_kept_folds_is_named_by_the_converter(tmp_path, capsys):
    picture = opened(drawn(0, size=(160, 120)))
    files = class_folders(9) | {f"9/{q}.jpg": encoded(picture, quality=q) for q in (90, 80)}
    old = converted(
        write_files(tmp_path / "old", files), tmp_path / "old set", near_duplicates=False
    )  # two photos of a class and two folds: one in each
    assert folds_of(old)["90.jpg"] != folds_of(old)["80.jpg"]
    folder = write_files(tmp_path / "new", files | {"9/70.jpg": encoded(picture, quality=70)})
    capsys.readouterr()
    converted(folder, tmp_path / "new set", keep_folds=f"{old.directory}/dataset.json")
    assert "Note: 70.jpg shows the same picture as kept photos of the folds 0, 1: they stay in their folds" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"folds": 2}, r"--keep_folds=.* has 3 folds and --folds=2: give the same number"),
        ({"folds": 3, "split": "first_files:0.1"}, "--keep_folds and --split=first_files exclude each other"),
    ],
)
def test_folds_that_cannot_be_kept_are_one_sentence(tmp_path, options, said):
    folder = write_files(tmp_path / "cars", class_folders(9))
    old = converted(folder, tmp_path / "old", folds=3)
    with pytest.raises(UserError, match=said):
        converted(folder, tmp_path / "new", keep_folds=f"{old.directory}/dataset.json", **options)


@pytest.mark.parametrize("name", ["", "/", "/dataset.json", "/../out/dataset.json"])
def test_a_data_set_cannot_keep_the_folds_of_what_it_replaces(tmp_path, name):
    folder = write_files(tmp_path / "cars", class_folders(3))
    with pytest.raises(UserError, match=r"is the data set that would be replaced.*: give another --output"):
        converted(folder, tmp_path / "out", keep_folds=f"{tmp_path}/out{name}", overwrite=True)


def test_folds_of_no_data_set_cannot_be_kept(tmp_path):
    folder = write_files(tmp_path / "cars", class_folders(3))
    with pytest.raises(UserError, match="is not a data set"):
        converted(folder, tmp_path / "new", keep_folds=str(folder / "dataset.json"))


@pytest.mark.parametrize("folds", [2, 5])
def test_the_folds_of_a_data_set_are_its_shards(tmp_path, folds):
    manifest = converted(
        write_files(tmp_path / "cars", class_folders(30)), tmp_path / "out", folds=folds, near_duplicates=False
    )
    assert manifest.folds == tuple(range(folds))
    ids = manifest.read_ids("train")
    for label in range(3):
        count = [sum((ids["label"] == label) & (ids["fold"] == fold)) for fold in range(folds)]
        assert (sum(count), max(count) - min(count)) == (10, 0)
    assert [manifest.photos("train", [fold]) for fold in range(folds)] == [30 // folds] * folds
