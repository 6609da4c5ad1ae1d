"""A converter killed at any moment leaves no readable half data set; run again, it converges to the same bytes."""

import dataclasses
import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from carclf import storage
from carclf.convert import converter, dataset, duplicates, fold_choice, scan, shards
from carclf.convert.converter import convert
from carclf.convert.options import ConvertOptions
from carclf.errors import Preempted, UserError
from carclf.synthetic.draw import draw_jpeg
from tests.convert.inputs import tree

ROOT = Path(__file__).parent.parent.parent
KILLING = Path(__file__).with_name("killing.py")


def write_photos(folder: Path, *, photos: int = 12) -> Path:
    for number in range(photos):
        kind = number % 3
        (folder / "train" / str(kind)).mkdir(parents=True, exist_ok=True)
        encoded = draw_jpeg(kind=kind, photo_id=f"{number}.jpg", seed=3, size=(64, 48))
        (folder / "train" / str(kind) / f"{number}.jpg").write_bytes(encoded)
    (folder / "test").mkdir()
    for number in range(4):
        encoded = draw_jpeg(kind=number % 3, photo_id=f"t{number}.jpg", seed=3, size=(64, 48))
        (folder / "test" / f"t{number}.jpg").write_bytes(encoded)
    (folder / "sample-submission.csv").write_text("Id,Category\n" + "".join(f"t{n}.jpg,0\n" for n in range(4)))
    (folder / "train.csv").write_text("Id,Category\n" + "".join(f"{n}.jpg,{n % 3}\n" for n in range(photos)))
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("photos"))


def kill(photos: Path, output: Path, mode: str, *, kills: int = 0) -> list[tuple[str, bool]]:
    options = {"input": str(photos), "output": str(output), "folds": 2, "workers": 1}
    answer = subprocess.run(
        [sys.executable, str(KILLING), json.dumps(options), mode, str(kills)],
        capture_output=True, text=True, cwd=ROOT, timeout=900,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout.strip().splitlines()[-1])


def test_killed_at_a_few_random_moments(photos, tmp_path):
    results = kill(photos, tmp_path / "out", "random", kills=4)
    assert [moment for moment, same in results if not same] == []


@pytest.mark.slow
def test_killed_at_sixty_random_moments(photos, tmp_path):
    results = kill(photos, tmp_path / "out", "random", kills=60)
    assert [moment for moment, same in results if not same] == []
    assert len(results) >= 60


@pytest.mark.slow
def test_killed_before_and_after_every_rename(photos, tmp_path):
    results = kill(photos, tmp_path / "out", "renames")
    assert [moment for moment, same in results if not same] == []
    # Three shards with their receipts, the index, six lists and their copies, and the commit.
    assert len(results) == 2 * (3 + 3 + 1 + 6 + 6 + 1)


@pytest.mark.parametrize("function", ["hash_photos", "validate_photos", "find_groups", "write_shard"])
def test_told_to_stop_it_says_that_finished_shards_are_kept_and_converges_to_the_same_bytes(
    photos, tmp_path, monkeypatch, function
):
    owner = next(one for one in (scan, duplicates, shards, dataset) if hasattr(one, function))
    original = getattr(owner, function)

    def told(*arguments, **keywords):
        os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments, **keywords)

    options = {"input": str(photos), "folds": 2, "workers": 1}
    convert(ConvertOptions(**options, output=str(tmp_path / "whole")))
    ours = ConvertOptions(**options, output=str(tmp_path / "ours"))
    if function == "hash_photos":  # asked only where a data set is there
        convert(ours)
    with monkeypatch.context() as patch:
        patch.setattr(owner, function, told)
        with pytest.raises(Preempted, match="SIGTERM: finished shards are kept, and the same command continues"):
            convert(ours)
    convert(ours)
    assert tree(tmp_path / "ours") == tree(tmp_path / "whole")


def command(photos: Path, output: Path, *flags: str, **arguments) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "tools/make_tfrecords.py",
        f"--input={photos}",
        f"--output={output}",
        "--folds=2",
        *flags,
    ]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **arguments)


def descendants(process: int) -> list[int]:
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(child) for child in children] + [one for child in children for one in descendants(int(child))]


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_no_worker_outlives_a_killed_converter(photos, tmp_path):
    process = command(photos, tmp_path / "out", "--workers=2")
    until = time.monotonic() + 120
    while len(workers := descendants(process.pid)) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    assert len(workers) >= 2
    process.send_signal(signal.SIGKILL)
    process.communicate()
    while any(map(alive, workers)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(alive, workers))
    assert not (tmp_path / "out" / "dataset.json").exists()


def test_finished_shards_are_kept_and_a_damaged_one_is_written_again(photos, tmp_path, monkeypatch, capsys):
    options = ConvertOptions(input=str(photos), output=str(tmp_path / "out"), folds=2, workers=1)

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(dataset, "write_list", stop)
        with pytest.raises(KeyboardInterrupt):
            convert(options)
    shards = sorted((tmp_path / "out").rglob("*.tfrecord"))
    assert len(shards) == 3
    kept, damaged = shards[0].stat().st_mtime_ns, shards[1].stat().st_mtime_ns
    content = bytearray(shards[1].read_bytes())
    content[20] ^= 1
    shards[1].write_bytes(content)
    capsys.readouterr()
    convert(options)
    assert "2 of 3 shards are finished already and are kept" in capsys.readouterr().out
    assert shards[0].stat().st_mtime_ns == kept
    assert shards[1].stat().st_mtime_ns != damaged
    assert not list((tmp_path / "out").rglob("*.receipt"))


def test_finished_shards_of_other_folds_are_written_again(photos, tmp_path, monkeypatch, capsys):
    def stop(*arguments):
        raise KeyboardInterrupt

    def of_another_version(*arguments, **keywords):
        return [None if fold is None else 1 - fold for fold in fold_choice.choose_folds(*arguments, **keywords)]

    options = {"input": str(photos), "folds": 2, "workers": 1}
    ours = ConvertOptions(**options, output=str(tmp_path / "out"))
    with monkeypatch.context() as patched:
        patched.setattr(converter, "choose_folds", of_another_version)
        patched.setattr(dataset, "write_list", stop)
        with pytest.raises(KeyboardInterrupt):
            convert(ours)
    assert len(list((tmp_path / "out").rglob("*.receipt"))) == 3
    capsys.readouterr()
    convert(ours)
    assert "1 of 3 shards are finished already and are kept" in capsys.readouterr().out  # that of the test photos
    convert(ConvertOptions(**options, output=str(tmp_path / "whole")))
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


CHANGES = (
    {"id": "other.jpg"}, {"row": 99}, {"label": 9}, {"class_name": "other"}, {"stored_sha256": bytes(32)},
    {"height": 1}, {"width": 1},
)  # fmt: skip


def test_a_finished_shard_is_kept_with_the_planned_records_alone(photos, tmp_path, monkeypatch):
    def looking(directory, plan):
        first, *others = plan.records
        changed = [(dataclasses.replace(first, **change), *others) for change in CHANGES]
        changed += [(*others, first), others]
        kept.append([original(directory, dataclasses.replace(plan, records=tuple(one))) for one in changed])
        return original(directory, plan)

    def stop(*arguments):
        raise KeyboardInterrupt

    options = ConvertOptions(input=str(photos), output=str(tmp_path / "out"), folds=2, workers=1)
    with monkeypatch.context() as patched:
        patched.setattr(dataset, "write_list", stop)
        with pytest.raises(KeyboardInterrupt):
            convert(options)
    original, kept = shards.finished_shard, []
    monkeypatch.setattr(shards, "finished_shard", looking)
    monkeypatch.setattr(shards, "write_shard", None)  # none is written again
    convert(options)
    assert kept == [[None] * (len(CHANGES) + 2)] * 3


def test_an_old_data_set_stays_readable_until_the_new_one_is_committed(photos, tmp_path, monkeypatch):
    from carclf.data.manifest import load_manifest

    out = str(tmp_path / "out")
    old = convert(ConvertOptions(input=str(photos), output=out, folds=2, workers=1))
    commit = storage.write_atomic
    seen = []

    def looking(path, content):
        if path.endswith("dataset.json"):
            seen.append(load_manifest(out).fingerprint)
        commit(path, content)

    monkeypatch.setattr(storage, "write_atomic", looking)
    new = convert(ConvertOptions(input=str(photos), output=out, folds=3, workers=1, overwrite=True))
    assert seen == [old.fingerprint]
    assert load_manifest(out).fingerprint == new.fingerprint != old.fingerprint
    assert not (tmp_path / "out" / old.fingerprint[:16]).exists()


def test_a_disk_that_fills_up_is_one_sentence_and_no_data_set(photos, tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    process = command(photos, tmp_path / "out", "--workers=1", preexec_fn=limit)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2, errors
    sentence = errors.strip().splitlines()[-1]
    assert sentence.startswith("Error: ")
    assert "free some space" in sentence
    assert "Traceback" not in errors
    assert not (tmp_path / "out" / "dataset.json").exists()
    assert not list((tmp_path / "out").rglob("*.tmp"))
    for name in ("out", "fresh"):  # the same command again, with room
        process = command(photos, tmp_path / name, "--workers=1")
        assert process.communicate(timeout=120)[1] is not None
        assert process.returncode == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_disk_that_refuses_the_commit_is_one_sentence(photos, tmp_path, monkeypatch, code):
    def refuse(temporary, path):
        raise OSError(code, os.strerror(code), path)

    options = ConvertOptions(input=str(photos), output=str(tmp_path / "out"), folds=2, workers=1)
    with monkeypatch.context() as patch:
        patch.setattr(storage, "commit", refuse)
        with pytest.raises(UserError, match=f"{os.strerror(code)}.*free some space.*finished shards are kept"):
            convert(options)
    assert not (tmp_path / "out" / "dataset.json").exists()
    assert convert(options).classes


def test_space_is_checked_before_a_shard_is_written(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 10**6, 10**6))
    with pytest.raises(UserError, match=r"needs 0\.\d+ GB and 0\.00 GB are free"):
        convert(ConvertOptions(input=str(photos), output=str(tmp_path / "out"), folds=2, workers=1))
    assert not list((tmp_path / "out").rglob("*.tfrecord"))
