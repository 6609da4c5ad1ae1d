"""The explore command: the picture it writes, what it prints, and what it refuses."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from carclf.errors import UserError
from carclf.explore import EVERY_OPERATION, ExploreOptions
from carclf.recipe import NAMED_RECIPES, RECIPES
from tests import commands

ROOT = Path(__file__).parent.parent


def explore(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "carclf.explore", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)


def refused(*arguments: str) -> str:
    return commands.refused("carclf.explore", *arguments, folder=ROOT)


def test_a_recipe_is_drawn_into_a_folder_that_is_made(tmp_path, dataset):
    path = tmp_path / "new" / "picture.png"
    answer = commands.open_door(
        "carclf.explore", f"--data={dataset.directory}", "--augment=flip|mixup", "--image_size=32", "--photos=2",
        "--draws=3", f"--output={path}", folder=ROOT,
    )  # fmt: skip
    assert answer.stdout == f"Picture: {path}\n"
    assert commands.without_progress(answer.stderr) == []
    with Image.open(path) as image:
        assert image.format == "PNG"


def test_all_draws_and_explains_every_operation(tmp_path, dataset):
    path = tmp_path / "all.jpg"
    answer = commands.open_door(
        "carclf.explore", f"--data={dataset.directory}", "--augment=all", "--image_size=32", "--draws=2",
        f"--output={path}", folder=ROOT,
    )  # fmt: skip
    for name, row in RECIPES.items():
        assert f"\n  {name}" in answer.stdout
        assert row.summary in answer.stdout
    with Image.open(path) as image:
        assert image.height > 100 * len(RECIPES)


def test_without_a_recipe_it_writes_the_page(tmp_path, dataset):
    path = tmp_path / "new" / "eda.html"
    answer = explore(f"--data={dataset.directory}", "--show=test001.jpg", f"--output={path}")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == f"Page: {path}\n"
    assert "Requested photos" in path.read_text()


def test_a_photo_that_is_not_there_is_one_sentence(dataset):
    line = refused(f"--data={dataset.directory}", "--show=nobody.jpg")
    assert "There is no photo 'nobody.jpg'" in line
    assert "such as 'train000.jpg'" in line


def test_what_is_written_has_a_name_by_itself():
    assert ExploreOptions(data="set").output_path.name == "eda.html"
    assert ExploreOptions(data="set", augment="flip").output_path.name == "augmentation.png"


def test_the_page_needs_no_framework(tmp_path, dataset):
    arguments = ["carclf.explore", f"--data={dataset.directory}", f"--output={tmp_path / 'eda.html'}"]
    program = (
        f"import runpy, sys; sys.modules.update(tensorflow=None, keras=None, jax=None); sys.argv = {arguments!r}; "
        "runpy.run_module('carclf.explore', run_name='__main__')"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert answer.returncode == 0, answer.stderr


def test_no_recipe_is_called_all():
    assert EVERY_OPERATION not in {**RECIPES, **NAMED_RECIPES}


def test_a_mistyped_recipe_is_one_sentence(dataset):
    line = refused(f"--data={dataset.directory}", "--augment=rotat(10)")
    assert line.startswith("Error: --augment=rotat(10): there is no augmentation 'rotat', did you mean 'rotate'?")
    assert "perspective" in line


def test_a_missing_folder_is_one_sentence(tmp_path):
    assert "There is no folder" in refused(f"--data={tmp_path / 'nowhere'}")


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path, dataset):
    (tmp_path / "file").write_text("")
    picture = ("--augment=flip", "--image_size=32", f"--output={tmp_path / 'file' / 'a.png'}")
    assert "could not be written" in refused(f"--data={dataset.directory}", *picture)
    assert "could not be written" in refused(f"--data={dataset.directory}", f"--output={tmp_path / 'file' / 'a.html'}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": ""}, "--data is missing"),
        ({"output": "eda.png"}, "--output=eda.png is not possible: .* a picture wants --augment, so .* with .html"),
        (
            {"output": "a.html", "augment": "flip"},
            "--output=a.html is not possible: --augment draws a picture, so .*png",
        ),
        ({"workers": 2, "augment": "flip"}, "--workers=2 is not possible: it is for the page"),
        ({"show": "1.jpg", "augment": "flip"}, "--show=1.jpg is not possible: it is for the page"),
        ({"workers": -1}, "--workers=-1 is not possible"),
        ({"photos": 0}, "--photos=0 is not possible"),
        ({"photos": 33}, "--photos=33 is not possible"),
        ({"draws": 0}, "--draws=0 is not possible"),
        ({"seed": -1}, "--seed=-1 is not possible"),
        ({"image_size": "big"}, "--image_size=big is not a size"),
    ],
    ids=str,
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        ExploreOptions(**{"data": "set", **options})
