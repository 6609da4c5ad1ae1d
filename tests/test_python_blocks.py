"""The Python code in the README and docs/ runs, in miniature, block by block in the order of its page."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from shown_commands import PAGES, blocks

from carclf.data.photos import read_photos
from carclf.inference import programs
from tests.inference.made_runs import colour_classifier, make_run

ROOT = Path(__file__).parent.parent
SHOWING = [name for name in PAGES if blocks("python", PAGES[name])]
# An expression, not a program: tests/test_pages_of_docs.py makes a backbone from it.
EVALUATED_ELSEWHERE = ("docs/adding_a_backbone.md",)
MOST_LINES = {"docs/python.md": (15, 15, 25, 15), "docs/data_format.md": (7,)}  # per block, as the page promises
SMALLER = {
    "image_size=224": "image_size=32",
    "batch_size=32": "batch_size=4",
    "epochs=10": "epochs=2",
    "range(10)": "range(2)",
    "MobileNetV2(weights=None,": "MobileNetV2(input_shape=(32, 32, 3), weights=None,",
}
TINY = SMALLER | {
    "keras.applications.MobileNetV2(weights=None, classes=dataset.class_count, classifier_activation=None)": (
        "keras.Sequential([keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(dataset.class_count)])"
    ),
    'weighted_metrics=["accuracy"])': 'weighted_metrics=["accuracy"], jit_compile=False)',
    'carclf.build_classifier("efficientnet_b0", class_count=dataset.class_count, image_size=224, weights="none")': (
        "keras.Sequential("
        "[keras.Input((32, 32, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(dataset.class_count)])"
    ),
    "carclf.Render(image_size=224)": "carclf.Render(image_size=32, jit=False)",
}


def reduced(block: str, replacements: dict[str, str]) -> str:
    for shown, smaller in sorted(replacements.items(), key=lambda pair: -len(pair[0])):
        block = block.replace(shown, smaller)
    return block


@pytest.fixture
def home(dataset, tmp_path, monkeypatch) -> Path:
    """Returns a folder with a data set, two runs and a photo where the pages expect them."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cars").mkdir()
    (tmp_path / "data" / "cars" / "fingerprint").symlink_to(dataset.directory)  # shards have their own folder
    for path in Path(dataset.directory).iterdir():
        (tmp_path / "data" / "cars" / path.name).symlink_to(path)
    for name in ("b3_512", "lite0_288_all"):
        make_run(tmp_path / "runs" / name, dataset)
    (tmp_path / "car.jpg").write_bytes(read_photos(dataset, split="test", rows=[0])[0])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(block: str, *, home: Path) -> None:
    if "jax" not in block:
        exec(compile(block, "<shown>", "exec"), {"__name__": "shown"})
        return
    # JAX is another backend of Keras, which a process can choose only once.
    environment = os.environ | {"KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)}
    answer = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, env=environment, cwd=home)
    assert answer.returncode == 0, answer.stderr
    print(answer.stdout)


def follow(page: str, *, home: Path, replacements: dict[str, str]) -> None:
    for block in blocks("python", PAGES[page]):
        run(reduced(block, replacements), home=home)


@pytest.mark.parametrize("page", [name for name in SHOWING if name not in EVALUATED_ELSEWHERE])
def test_the_python_of_a_page_runs(page, home, capsys, monkeypatch):
    monkeypatch.setattr(programs, "build_photo_classifier", colour_classifier)  # replaces that of runs; traces at once
    follow(page, home=home, replacements=TINY)
    said = capsys.readouterr().out
    if page == "docs/data_format.md":
        assert re.fullmatch(r"\(\d+, \d+, 3\) [012]", said.strip())
    if page == "docs/python.md":
        assert (home / "cars.keras").is_file()
        assert len((home / "own.csv").read_text().splitlines()) == 6
        assert "epoch 1: loss " in said
        assert said.splitlines()[-1].startswith("class ")


@pytest.mark.slow
def test_the_python_of_the_page_runs_with_the_networks_it_names(home):
    follow("docs/python.md", home=home, replacements=SMALLER)


@pytest.mark.parametrize(("page", "most"), MOST_LINES.items())
def test_a_block_is_as_short_as_promised(page, most):
    lines = [len([line for line in block.splitlines() if line.strip()]) for block in blocks("python", PAGES[page])]
    assert [length for length, limit in zip(lines, most, strict=True) if length > limit] == []
