"""`--overwrite` mends: whatever is damaged, the conversion that an error text advises ends with the same bytes."""

import json
import shutil
from pathlib import Path

import pytest

from carclf.convert import converter
from carclf.convert.fold_choice import choose_folds
from carclf.convert.verify import verify
from carclf.data.index import read_index
from carclf.data.manifest import from_json, load_manifest
from carclf.errors import UserError
from tests.convert.inputs import competition, converted, tree, write_files
from tests.convert.test_verify import rehash


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    source = write_files(folder / "photos", competition())
    return source, Path(converted(source, folder / "out").directory)


@pytest.fixture
def output(made, tmp_path):
    shutil.copytree(made[1], tmp_path / "out")
    return tmp_path / "out"


def shard_files(output: Path) -> list[Path]:
    return sorted(output.glob("*/train-fold*.tfrecord"))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def edit(output: Path, change) -> None:
    path = output / "dataset.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def exchange_categories(content: dict) -> None:
    first, second = content["classes"][:2]
    first["category"], second["category"] = second["category"], first["category"]


DAMAGE = {
    "a bit of a shard": lambda output: flip(shard_files(output)[0]),
    "a shard cut off": lambda output: shard_files(output)[0].write_bytes(shard_files(output)[0].read_bytes()[:-5]),
    "no shard": lambda output: shard_files(output)[0].unlink(),
    "a bit of the index": lambda output: flip(next(output.glob("*/photos.npy"))),
    "no index": lambda output: next(output.glob("*/photos.npy")).unlink(),
    "a bit of a list": lambda output: flip(next(output.glob("*/ids-train.csv"))),
    "no list": lambda output: next(output.glob("*/rejected.csv")).unlink(),
    "a bit of dataset.json": lambda output: flip(output / "dataset.json"),
    "dataset.json cut off": lambda output: (output / "dataset.json").write_bytes(b'{"format'),
    "categories exchanged": lambda output: edit(output, exchange_categories),
    "labels exchanged": lambda output: edit(output, lambda content: content["classes"].reverse()),
    "another count": lambda output: edit(output, lambda content: content["classes"][0].update(count=7)),
    "an older format": lambda output: edit(output, lambda content: content.update(format_version=1)),
    "a newer format": lambda output: edit(output, lambda content: content.update(format_version=99)),
    "a file elsewhere": lambda output: edit(output, lambda content: content["index"].update(file="../photos.npy")),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_the_error_text_advises_mends_the_data_set(made, output, damage):
    source, whole = made
    before = shard_files(output)[1].stat().st_mtime_ns
    DAMAGE[damage](output)
    with pytest.raises(UserError, match=r"convert the photos again.* with .*--overwrite"):
        verify(str(output), workers=1)
    converted(source, output, overwrite=True)
    assert tree(output) == tree(whole)
    if damage in ("a bit of a shard", "a shard cut off", "no shard", "a bit of a list"):
        assert shard_files(output)[1].stat().st_mtime_ns == before  # it was whole, and is kept


def flipped(content: bytearray, place: int) -> bytes:
    content[place] ^= 1
    return bytes(content)


def without_first(content: bytearray) -> bytes:
    return bytes(content[int.from_bytes(content[:8], "little") + 16 :])


WRITTEN_WRONG = {
    "a photo": lambda content: flipped(content, content.index(b"\xff\xd9") - 20),
    "the structure of a record": lambda content: flipped(content, 12),
    "the length of a record": lambda content: flipped(content, 1),
    "a record fewer": without_first,
}


@pytest.mark.parametrize("damage", WRITTEN_WRONG)
def test_a_shard_that_was_written_wrong_with_its_hash_is_written_again(made, output, damage):
    source, whole = made
    before = shard_files(output)[1].stat().st_mtime_ns
    shard = shard_files(output)[0]
    shard.write_bytes(WRITTEN_WRONG[damage](bytearray(shard.read_bytes())))
    rehash(from_json((output / "dataset.json").read_bytes(), directory=str(output)))
    with pytest.raises(UserError, match=r"convert the photos again with --overwrite\.$"):
        verify(str(output), workers=1)
    converted(source, output, overwrite=True)
    assert tree(output) == tree(whole)
    assert shard_files(output)[1].stat().st_mtime_ns == before


def test_whole_shards_of_other_folds_are_not_kept(made, tmp_path, monkeypatch):
    def of_another_version(*arguments, **keywords):
        return [None if fold is None else 1 - fold for fold in choose_folds(*arguments, **keywords)]

    output, (source, whole) = tmp_path / "out", made
    with monkeypatch.context() as patched:
        patched.setattr(converter, "choose_folds", of_another_version)
        converted(source, output)
    next(output.glob("*/rejected.csv")).unlink()
    converted(source, output, overwrite=True)
    verify(str(output), workers=1)
    assert tree(output) == tree(whole)


def test_a_copy_for_people_is_written_again_without_overwriting(made, output):
    source, whole = made
    flip(output / "ids-train.csv")
    converted(source, output)
    assert tree(output) == tree(whole)


def test_without_overwrite_a_damaged_data_set_is_refused_and_untouched(made, output):
    flip(output / "dataset.json")
    damaged = tree(output)
    with pytest.raises(UserError, match="holds a damaged data set: add --overwrite to replace it"):
        converted(made[0], output)
    assert tree(output) == damaged


def test_a_whole_data_set_is_verified_and_left_as_it_is(made, output, capsys):
    times = {path: path.stat().st_mtime_ns for path in output.rglob("*.*")}
    converted(made[0], output, overwrite=True)
    assert "already, every hash and every photo was checked: nothing to do." in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*.*")} == times


def test_a_data_set_of_an_older_carclf_is_read_with_a_note_and_gets_its_hash(made, output, capsys):
    edit(output, lambda content: content.pop("content_sha256"))
    verify(str(output), workers=1)
    noted = f"Note: {output}/dataset.json is of an older carclf and has no hash, so damage to it is not noticed: "
    assert capsys.readouterr().err.startswith(f"{noted}converting the photos again with --overwrite adds one.")
    converted(made[0], output, overwrite=True)
    assert tree(output) == tree(made[1])


def test_a_count_of_a_class_that_the_lists_deny_is_found_without_a_hash(output):
    def lie(content: dict) -> None:
        del content["content_sha256"]
        content["classes"][0]["count"] += 1

    edit(output, lie)
    with pytest.raises(UserError, match=r"says 5 photos of the class 0 and .*ids-train.csv lists 4: convert"):
        verify(str(output), workers=1)


def test_an_index_that_is_whole_keeps_its_places(made, output):
    flip(shard_files(output)[0])
    converted(made[0], output, overwrite=True)
    assert (read_index(load_manifest(str(output))) == read_index(load_manifest(str(made[1])))).all()
