"""The competition's layout: the same bytes for any number of workers; complete, or missing."""

import hashlib
import io
import shutil
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from carclf.errors import UserError
from carclf.synthetic import dataset
from carclf.synthetic.drawing import draw_photos

SIZE = (48, 32)
TRAIN = [("10.jpg", 0), ("11.jpg", 0), ("9.jpg", 7), *((f"{n}.jpg", n % 10) for n in range(100, 130))]
TEST = [("77.jpg", 3), ("76.jpg", 9)]


def write(output: Path, **changes) -> Path:
    options = {"train": TRAIN, "test": TEST, "seed": 5, "size": SIZE, **changes}
    dataset.write_competition(output, **options)
    return output


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_folders_and_tables_are_the_competitions(tmp_path):
    out = write(tmp_path / "deep" / "set")
    photos = {f"train/{kind}/{photo_id}" for photo_id, kind in TRAIN} | {f"test_upload/{i}" for i, _ in TEST}
    assert set(hashes(out)) == photos | {"train.csv", "sample-submission.csv", "solution.csv"}
    assert (out / "train.csv").read_bytes().startswith(b"Id,Category\n10.jpg,0\n11.jpg,0\n9.jpg,7\n")
    assert (out / "sample-submission.csv").read_bytes() == b"Id,Category\n77.jpg,0\n76.jpg,0\n"
    assert (out / "solution.csv").read_bytes() == b"Id,Category\n77.jpg,3\n76.jpg,9\n"


@pytest.mark.parametrize("zipped", [False, True], ids=["folders", "zip"])
def test_bytes_do_not_depend_on_the_number_of_workers(tmp_path, zipped):
    one = hashes(write(tmp_path / "one", zipped=zipped))
    assert hashes(write(tmp_path / "two", zipped=zipped, workers=2)) == one


def test_the_zip_of_zips_holds_what_the_folders_hold(tmp_path):
    folders, zipped = write(tmp_path / "folders"), write(tmp_path / "zip", zipped=True)
    assert sorted(path.name for path in zipped.iterdir()) == ["competition.zip", "solution.csv"]
    found = {}
    with zipfile.ZipFile(zipped / "competition.zip") as outer:
        assert outer.namelist() == ["train.zip", "test.zip", "train.csv", "sample-submission.csv"]
        assert outer.testzip() is None
        for name in ("train.zip", "test.zip"):
            with zipfile.ZipFile(io.BytesIO(outer.read(name))) as inner:
                assert {entry.date_time for entry in inner.infolist()} == {dataset.ZIP_TIME}
                found |= {entry: hashlib.sha256(inner.read(entry)).hexdigest() for entry in inner.namelist()}
        for name in ("train.csv", "sample-submission.csv"):
            found[name] = hashlib.sha256(outer.read(name)).hexdigest()
    found["solution.csv"] = hashlib.sha256((zipped / "solution.csv").read_bytes()).hexdigest()
    assert found == hashes(folders)


def test_an_interrupted_run_leaves_nothing(tmp_path):
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "set", on_photo=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_plan_is_balanced_unique_and_sorted_as_the_competition():
    train, test = dataset.plan_photos(photos=205, seed=1)
    assert (len(train), len(test)) == (205, 51)
    assert max(Counter(kind for _, kind in train).values()) == 21
    assert {kind for _, kind in test} == set(range(10))
    ids = [photo_id for photo_id, _ in train + test]
    assert len(set(ids)) == 256
    assert train == sorted(train, key=lambda photo: (photo[1], photo[0]))
    assert [kind for _, kind in test] != sorted(kind for _, kind in test)
    assert dataset.plan_photos(photos=205, seed=2)[0] != train


def test_any_ids_can_be_drawn_one_by_one_and_in_order():
    drawn = draw_photos(((f"{n}.jpg", 0) for n in range(10**9)), seed=0, size=SIZE)
    assert [next(drawn)[0] for _ in range(3)] == ["0.jpg", "1.jpg", "2.jpg"]
    drawn.close()


DESCRIPTION = {"format": 1, "photos": 8, "seed": 5, "zip": False}


def finished(output: Path) -> Path:
    return write(output, train=TRAIN[:8], test=TEST, description=DESCRIPTION)


def test_a_finished_sample_is_recognised(tmp_path):
    assert dataset.check_output(finished(tmp_path / "set"), description=DESCRIPTION)


@pytest.mark.parametrize("make", [lambda path: None, Path.mkdir], ids=["missing", "empty"])
def test_a_missing_or_empty_folder_is_free(tmp_path, make):
    make(tmp_path / "set")
    assert not dataset.check_output(tmp_path / "set", description=DESCRIPTION)
    assert finished(tmp_path / "set").is_dir()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda out: (out / "sample.json").unlink(), "has no sample"),
        (lambda out: (out / "sample.json").write_text("{"), "has no sample"),
        (lambda out: (out / "sample.json").write_text('{"seed": 6}'), "drawn with other options"),
        (lambda out: (out / "train.csv").unlink(), r"is missing train\.csv"),
        (lambda out: (out / "test_upload" / "77.jpg").unlink(), "has only 9 of its 10 photos"),
    ],
    ids=["no description", "broken description", "other options", "no table", "lost photo"],
)
def test_other_content_is_refused(tmp_path, harm, message):
    harm(finished(tmp_path / "set"))
    with pytest.raises(UserError, match=message):
        dataset.check_output(tmp_path / "set", description=DESCRIPTION)
    shutil.rmtree(tmp_path / "set")
    assert not dataset.check_output(tmp_path / "set", description=DESCRIPTION)
    assert dataset.check_output(finished(tmp_path / "set"), description=DESCRIPTION)


def test_a_file_is_refused(tmp_path):
    (tmp_path / "set").write_text("mine")
    with pytest.raises(UserError, match="is a file"):
        dataset.check_output(tmp_path / "set", description=DESCRIPTION)
