"""Slow: a real S3 server; everything from photos to submission lies on it, and the submission is the local one."""

import io
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from carclf import storage

ROOT = Path(__file__).parents[2]
TRAIN = (
    "--backbone=tiny",
    "--weights=none",
    "--image_size=32",
    "--batch_size=4",
    "--device=cpu",
    "--learning_rate=1e-3",
)
BUCKET = "s3://cars"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(s3_server):
    """Returns the environment of a process that reaches a server with an empty bucket."""
    return s3_server


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """Returns a folder of drawn photos, and their zip beside it."""
    folder = tmp_path_factory.mktemp("drawn")
    for name, flags in (("photos", ()), ("zipped", ("--zip",))):
        size = ("--photos=40", "--width=64", "--height=48")
        command = [sys.executable, "-m", "carclf.sample", f"--output={folder / name}", *size, *flags]
        subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    return folder


def run(*arguments: str, folder: Path, environment: dict[str, str], code: int = 0) -> subprocess.CompletedProcess:
    folder.mkdir(exist_ok=True)
    answer = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=folder, env=environment, timeout=900
    )
    assert answer.returncode == code, answer.stdout + answer.stderr
    assert list(folder.glob("s3:*")) == []  # no URL was taken for a path
    return answer


def upload(folder: Path, url: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            storage.upload(str(path), f"{url}/{path.relative_to(folder).as_posix()}")


def objects(url: str) -> dict[str, str]:
    """Returns the hash of every object under a URL."""
    return {name: storage.sha256(storage.read_bytes(f"{url}/{name}")) for name in storage.sizes_under(url)}


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): storage.sha256(path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def ended_after_a_checkpoint(
    *command: str, name: str, folder: Path, environment: dict[str, str], by: signal.Signals
) -> tuple[int, str]:
    """Starts a training, ends it as soon as the store has a checkpoint of it, and returns its code and what it said."""
    folder.mkdir(exist_ok=True)
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as training:  # fmt: skip
        while not any(file.endswith(".json") for file in storage.sizes_under(f"{name}/checkpoints")):
            assert training.poll() is None, training.stdout.read()
            time.sleep(0.05)
        training.send_signal(by)
        said, _ = training.communicate()
    assert storage.size_bytes(f"{name}/metrics.json") is None
    return training.returncode, said


def same_arrays(one: bytes, other: bytes) -> bool:
    """Returns whether two weights files hold the same arrays, to the last bit."""
    import h5py

    def arrays(content: bytes) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        with h5py.File(io.BytesIO(content)) as file:
            file.visititems(
                lambda name, item: found.update({name: item[()].tobytes()} if hasattr(item, "shape") else {})
            )
        return found

    return arrays(one) == arrays(other) != {}


def test_from_photos_to_submission_everything_lies_on_s3(server, drawn, tmp_path):
    where = {
        "local": (str(drawn / "photos"), "data", "runs/a"),
        "s3": (f"{BUCKET}/in", f"{BUCKET}/set", f"{BUCKET}/runs/a"),
    }
    upload(drawn / "photos", f"{BUCKET}/in")
    for kind, (photos, data, name) in where.items():
        how = {"folder": tmp_path / kind, "environment": server}
        said = run(
            "-m", "carclf.make_tfrecords", f"--input={photos}", f"--output={data}", "--folds=2", "--workers=2", **how
        )
        assert "40 training and 10 test photos" in said.stdout
        train = ("-m", "carclf.train", f"--data={data}", f"--run={name}", *TRAIN, "--epochs=3", "--save_every=4")
        if kind == "s3":
            ended_after_a_checkpoint(*train, name=name, by=signal.SIGKILL, **how)
            said = run(*train, **how)
            assert "resum" in said.stdout.lower(), said.stdout
        else:
            said = run(*train, **how)
        assert f"Report: {name}/report.html" in said.stdout
        assert f"--run={name}" in said.stdout
        predict = ("-m", "carclf.predict", f"--run={name}", f"--data={data}", "--device=cpu")
        output = "submission.csv" if kind == "local" else f"{BUCKET}/answers/submission.csv"
        assert f"Submission: {output} (10 rows" in run(*predict, f"--output={output}", **how).stdout
    local = tmp_path / "local"
    assert objects(f"{BUCKET}/set") == contents(local / "data")
    for weights in ("best.weights.h5", "last.weights.h5"):
        there, here = storage.read_bytes(f"{BUCKET}/runs/a/{weights}"), (local / "runs" / "a" / weights).read_bytes()
        assert same_arrays(there, here)
    there, here = objects(f"{BUCKET}/runs/a"), contents(local / "runs" / "a")
    events = "tensorboard/"  # their names have the time in them
    assert [name for name in there if not name.startswith(events)] == sorted(
        name for name in here if not name.startswith(events)
    )
    assert any(name.startswith(events) for name in there)
    assert storage.read_bytes(f"{BUCKET}/answers/submission.csv") == (local / "submission.csv").read_bytes()


def test_told_to_stop_a_training_is_saved_in_the_store_and_its_lease_released(server, drawn, tmp_path):
    how = {"folder": tmp_path / "work", "environment": server}
    convert = (
        "-m",
        "carclf.make_tfrecords",
        f"--input={drawn / 'photos'}",
        "--output=data",
        "--folds=2",
        "--workers=1",
    )
    run(*convert, **how)
    name = f"{BUCKET}/stopped"
    train = ("-m", "carclf.train", "--data=data", f"--run={name}", *TRAIN, "--epochs=5000", "--save_every=4")
    code, said = ended_after_a_checkpoint(*train, name=name, by=signal.SIGTERM, **how)
    assert code == 75, said
    (step,) = re.findall(rf"step (\d+) is saved in {name}/checkpoints, and the same command", said)
    left = storage.sizes_under(name)
    assert f"checkpoints/step-{int(step):08d}.json" in left
    assert ".carclf.lock" not in left


def test_a_zip_a_list_photos_and_a_parent_are_fetched_from_s3(server, drawn, tmp_path):
    (archive,) = (drawn / "zipped").glob("*.zip")
    upload(drawn / "photos" / "test_upload", f"{BUCKET}/unseen/test")
    for name, path in ((archive.name, archive), ("sample.csv", drawn / "photos" / "sample-submission.csv")):
        storage.upload(str(path), f"{BUCKET}/unseen/{name}")
    how = {"folder": tmp_path / "work", "environment": server}
    convert = ("-m", "carclf.make_tfrecords", "--folds=2", "--workers=1")
    run(*convert, f"--input={BUCKET}/unseen/{archive.name}", f"--output={BUCKET}/zipped", **how)
    run(*convert, f"--input={archive}", "--output=zipped", **how)
    assert objects(f"{BUCKET}/zipped") == contents(tmp_path / "work" / "zipped")

    train = ("-m", "carclf.train", f"--data={BUCKET}/zipped", *TRAIN, "--epochs=1")
    run(*train, f"--runs={BUCKET}/chain", "--run=a", **how)
    run(*train, f"--runs={BUCKET}/chain", "--run=b", "--init_from=a", **how)
    run(*train, "--run=runs/b", f"--init_from={BUCKET}/chain/a", **how)
    assert same_arrays(
        storage.read_bytes(f"{BUCKET}/chain/b/best.weights.h5"),
        (tmp_path / "work" / "runs" / "b" / "best.weights.h5").read_bytes(),
    )
    predict = ("-m", "carclf.predict", f"--runs={BUCKET}/chain", "--run=a,b", "--device=cpu")
    run(*predict, f"--photos={BUCKET}/unseen/test", f"--sample={BUCKET}/unseen/sample.csv", "--output=there.csv", **how)
    photos = (
        "--photos=" + str(drawn / "photos" / "test_upload"),
        f"--sample={drawn / 'photos' / 'sample-submission.csv'}",
    )
    run(*predict, *photos, "--output=here.csv", **how)
    assert (tmp_path / "work" / "there.csv").read_bytes() == (tmp_path / "work" / "here.csv").read_bytes()

    evaluate = ("-m", "carclf.evaluate", f"--run={BUCKET}/chain/b", f"--data={BUCKET}/zipped", "--device=cpu")
    before = objects(f"{BUCKET}/chain/b")
    assert f"Report: {BUCKET}/chain/b/report.html" in run(*evaluate, "--tta=clean|flip", **how).stdout
    after = objects(f"{BUCKET}/chain/b")
    changed = {name for name in after if after[name] != before.get(name)}
    assert {"metrics.json", "report.html"} <= changed
    assert changed <= {"metrics.json", "report.html", "label_patch.csv", "confusion.png"}
    assert before.keys() <= after.keys()


@pytest.fixture(scope="module")
def folds(server, drawn, tmp_path_factory) -> Path:
    """Trains the runs of all folds on S3, stopped once in the second, and the same here; returns the folder here."""
    folder = tmp_path_factory.mktemp("folds")
    how = {"folder": folder, "environment": server}
    convert = ("-m", "carclf.make_tfrecords", f"--input={drawn / 'photos'}", "--folds=2", "--workers=1")
    run(*convert, f"--output={BUCKET}/folds/data", **how)
    train = (
        "-m", "carclf.train", f"--data={BUCKET}/folds/data", *TRAIN, "--val_fold=all", "--epochs=3", "--save_every=4"
    )  # fmt: skip
    there = (*train, f"--run={BUCKET}/folds/k")
    code, said = ended_after_a_checkpoint(*there, name=f"{BUCKET}/folds/k/fold1", by=signal.SIGTERM, **how)
    assert code == 75, said
    said = run(*there, **how).stdout
    assert f"The run {BUCKET}/folds/k/fold0 is finished" in said
    assert "resum" in said.lower()
    assert f"--run={BUCKET}/folds/k --data={BUCKET}/folds/data" in said
    run(*train, "--run=./k", **how)
    return folder


def test_all_folds_are_trained_resumed_evaluated_and_predicted_on_s3(server, folds, tmp_path):
    how = {"folder": folds, "environment": server}
    for fold in ("fold0", "fold1"):
        for weights in ("best.weights.h5", "last.weights.h5"):
            there = storage.read_bytes(f"{BUCKET}/folds/k/{fold}/{weights}")
            assert same_arrays(there, (folds / "k" / fold / weights).read_bytes())
    for name, output in ((f"{BUCKET}/folds/k", f"{BUCKET}/folds/answers.csv"), ("./k", "answers.csv")):
        shared = (f"--run={name}", f"--data={BUCKET}/folds/data", "--device=cpu")
        run("-m", "carclf.evaluate", *shared, **how)
        run("-m", "carclf.predict", *shared, f"--output={output}", **how)
    assert storage.read_bytes(f"{BUCKET}/folds/answers.csv") == (folds / "answers.csv").read_bytes()
    there, here = objects(f"{BUCKET}/folds/k"), contents(folds / "k")
    for name in ("label_patch.csv", "out_of_fold.json"):
        assert there[name] == here[name]
    assert {name for name in there if "tensorboard" not in name} == {name for name in here if "tensorboard" not in name}


def test_each_fold_starts_from_the_parent_of_its_fold_on_s3(server, folds):
    how = {"folder": folds, "environment": server}
    train = (
        "-m", "carclf.train", f"--data={BUCKET}/folds/data", *TRAIN, "--val_fold=all", "--epochs=1", "--seed=3"
    )  # fmt: skip
    run(*train, f"--runs={BUCKET}/folds", "--run=next", "--init_from=k", **how)
    run(*train, "--run=./next", "--init_from=./k", **how)
    for fold in ("fold0", "fold1"):
        there = storage.read_bytes(f"{BUCKET}/folds/next/{fold}/last.weights.h5")
        assert same_arrays(there, (folds / "next" / fold / "last.weights.h5").read_bytes())


def test_a_soup_of_runs_on_s3_is_made_there(server, folds):
    how = {"folder": folds, "environment": server}
    soup = ("-m", "carclf.soup", f"--data={BUCKET}/folds/data", "--method=uniform", "--device=cpu")
    for runs, output in ((f"{BUCKET}/folds/k", f"{BUCKET}/folds/soup"), ("./k", "./soup")):
        said = run(*soup, f"--run={runs}/fold0,{runs}/fold1", f"--output={output}", **how).stdout
        assert f"Soup: {output.removeprefix('./')}, 2 of 2 runs" in said
    there, here = objects(f"{BUCKET}/folds/soup"), contents(folds / "soup")
    assert sorted(there) == sorted(name for name in here if not name.startswith("."))
    assert same_arrays(
        storage.read_bytes(f"{BUCKET}/folds/soup/best.weights.h5"), (folds / "soup" / "best.weights.h5").read_bytes()
    )
    answer = run(*soup, f"--run={BUCKET}/folds/k/fold0,{BUCKET}/folds/k/fold1", f"--output={output}", **how, code=2)
    assert "--overwrite" in answer.stderr
    predict = ("-m", "carclf.predict", f"--data={BUCKET}/folds/data", "--device=cpu")
    for name, output in ((f"{BUCKET}/folds/soup", "there.csv"), ("./soup", "here.csv")):
        run(*predict, f"--run={name}", f"--output={output}", **how)
    assert (folds / "there.csv").read_bytes() == (folds / "here.csv").read_bytes()


def test_a_run_on_s3_is_exported_there_and_replaced_when_told(server, folds):
    how = {"folder": folds, "environment": server}
    export = ("-m", "carclf.export", f"--run={BUCKET}/folds/k/fold0", "--photos=4")
    there, saved_model = f"{BUCKET}/folds/exported", (*export, "--format=savedmodel")
    for output in (there, "exported"):
        said = run(*saved_model, f"--output={output}", **how).stdout
        assert f"Export: {output}/" in said
        assert "(0.0 MB)" not in said
    names = sorted(contents(folds / "exported"))
    assert sorted(storage.sizes_under(there)) == names
    assert {"README.md", "labels.txt"} <= set(names)
    storage.write_atomic(f"{there}/model.onnx", b"old")
    assert "--overwrite" in run(*saved_model, f"--output={there}", **how, code=2).stderr
    run(*saved_model, f"--output={there}", "--overwrite", **how)
    assert sorted(storage.sizes_under(there)) == names


@pytest.mark.parametrize("fault", ["no bucket", "no credentials", "nothing listens", "no such scheme"])
def test_every_command_says_in_one_sentence_what_is_wrong(server, drawn, tmp_path, fault):
    url, environment = "s3://nowhere", dict(server)
    if fault == "no credentials":
        del environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]
        environment["AWS_EC2_METADATA_DISABLED"] = "true"
    elif fault == "nothing listens":
        environment["AWS_ENDPOINT_URL"] = "http://127.0.0.1:1"
    elif fault == "no such scheme":
        url = "s4://nowhere"
    photos = f"--input={drawn / 'photos'}"
    for command in (
        ("make_tfrecords", f"--input={url}/in", "--output=data"),
        ("make_tfrecords", photos, f"--output={url}/set", "--workers=1"),
        ("make_tfrecords", f"--verify={url}/set"),
        ("train", f"--data={url}/set", *TRAIN),
        ("predict", f"--run={url}/a", f"--data={url}/set"),
        ("evaluate", f"--run={url}/a", "--data=data"),
        ("explore", f"--data={url}/set"),
        ("export", f"--run={url}/a", "--format=onnx", "--output=x"),
        ("soup", f"--run={url}/a,{url}/b", f"--data={url}/set", "--output=c"),
        ("serve", f"--run={url}/a"),
        ("probe", f"--data={url}/set"),
        ("tune", f"--data={url}/set", "--output=x.flags", "--trials=1", *TRAIN),
    ):
        answer = run(
            "-m", f"carclf.{command[0]}", *command[1:], folder=tmp_path / "work", environment=environment, code=2
        )
        assert "Traceback" not in answer.stderr
        lines = [line for line in answer.stderr.splitlines() if line.startswith("Error: ")]
        assert len(lines) == 1, answer.stderr
        assert url in lines[0]
