"""Slow: a data set, a run and a submission on the stores of Google and Azure are those on the local disk."""

import subprocess
import sys
from pathlib import Path

import pytest

from carclf import storage

ROOT = Path(__file__).parents[2]
TRAIN = ("--backbone=tiny", "--weights=none", "--image_size=32", "--batch_size=4", "--epochs=1", "--device=cpu")

pytestmark = pytest.mark.slow


@pytest.fixture(params=["gcs", "az"])
def store(request):
    """Returns (URL of a bucket, environment of a process that reaches it)."""
    return f"{request.param}://cars", request.getfixturevalue(f"{request.param}_server")


def run(command: str, *arguments: str, folder: Path, environment: dict[str, str], code: int = 0) -> str:
    answer = subprocess.run(
        [sys.executable, "-m", f"carclf.{command}", *arguments],
        capture_output=True, text=True, cwd=folder, env=environment, timeout=900,
    )  # fmt: skip
    assert answer.returncode == code, answer.stdout + answer.stderr
    return answer.stderr if code else answer.stdout


def test_from_photos_to_submission(store, tmp_path):
    bucket, environment = store
    how = {"folder": tmp_path, "environment": environment}
    run("sample", "--output=photos", "--photos=40", "--width=64", "--height=48", **how)
    for data, name, output in (
        ("data", "./run", "answers.csv"),
        (f"{bucket}/data", f"{bucket}/run", f"{bucket}/answers.csv"),
    ):
        run("make_tfrecords", "--input=photos", f"--output={data}", "--folds=2", "--workers=1", **how)
        run("train", f"--data={data}", f"--run={name}", *TRAIN, **how)
        said = run("predict", f"--data={data}", f"--run={name}", f"--output={output}", "--device=cpu", **how)
        assert f"Submission: {output} (10 rows" in said
    assert storage.read_bytes(f"{bucket}/answers.csv") == (tmp_path / "answers.csv").read_bytes()
    there = {name: storage.read_bytes(f"{bucket}/data/{name}") for name in storage.sizes_under(f"{bucket}/data")}
    data = tmp_path / "data"
    assert there == {path.relative_to(data).as_posix(): path.read_bytes() for path in data.rglob("*") if path.is_file()}
    assert run("make_tfrecords", f"--verify={bucket}/data", **how)


def test_a_bucket_that_does_not_exist_is_one_sentence(store, tmp_path):
    bucket, environment = store
    nowhere = bucket.replace("cars", "nowhere")
    how = {"folder": tmp_path, "environment": environment}
    run("sample", "--output=photos", "--photos=10", "--width=64", "--height=48", **how)
    for arguments in ((f"--verify={nowhere}/data",), ("--input=photos", f"--output={nowhere}/data", "--workers=1")):
        said = run("make_tfrecords", *arguments, code=2, **how)
        assert "Traceback" not in said
        (line,) = [line for line in said.splitlines() if line.startswith("Error: ")]
        assert nowhere in line
