"""`import carclf` is light and complete, and its functions return what they should."""

import ast
import inspect
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import carclf
from carclf import api
from carclf.arguments import KINDS
from carclf.data import pipeline
from carclf.data.decoder import decode
from carclf.data.photos import read_photos
from carclf.errors import UserError
from carclf.framing import Framing
from carclf.model.schedules import build_schedule
from carclf.recipe import parse_recipe, parse_views
from tests.runs.test_run import make_run

ROOT = Path(__file__).parent.parent
FRAMEWORKS = ("tensorflow", "keras", "jax", "numpy", "pandas", "PIL", "matplotlib", "scipy", "h5py")
RECIPE = "flip|rotate(10)|cutmix(1.0)"


def test_the_import_imports_no_framework():
    program = f"import sys, carclf; dir(carclf); print([name for name in {FRAMEWORKS!r} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert answer.stdout.strip() == "[]"


def test_the_import_waits_for_nothing_that_only_commands_need():
    program = "import sys; old = set(sys.modules); import carclf; print(*sorted(set(sys.modules) - old))"
    answer = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    found = set(answer.stdout.split())
    assert {name for name in found if name.startswith("carclf")} == {"carclf", "carclf.registration"}
    assert not found & {"tempfile", "socket", "json", "threading", "pathlib", "importlib.abc"}


@pytest.mark.parametrize("name", carclf.__all__)
def test_a_public_name_is_there_and_says_what_it_is(name):
    assert (getattr(carclf, name).__doc__ or "").strip()
    assert name in dir(carclf)


def test_type_checkers_see_the_same_names():
    tree = ast.parse((ROOT / "carclf" / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    seen = {
        alias.asname or alias.name: f"{node.module}:{alias.name}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(seen) == sorted(carclf.__all__)
    assert all(carclf._HOMES.get(name, f"carclf.api:{name}") == home for name, home in seen.items())
    assert (ROOT / "carclf" / "py.typed").is_file()


@pytest.mark.parametrize(("name", "said"), [("open_data", "did you mean open_dataset?"), ("xyz", "load_run")])
def test_an_unknown_name_is_told_with_the_nearest(name, said):
    with pytest.raises(AttributeError, match=f"no attribute '{name}'.*{said}".replace("?", r"\?")):
        getattr(carclf, name)


def test_a_room_is_still_imported_from_the_package():
    from carclf import recipe

    assert recipe.parse_recipe is carclf.parse_recipe


def arrays(batches) -> list:
    return [
        np.asarray(array)
        for inputs, *rest in batches.as_numpy_iterator()
        for array in (*(inputs[name] for name in sorted(inputs)), *rest)
    ]


def same(left: list, right: list) -> bool:
    return len(left) == len(right) and all(map(np.array_equal, left, right))


def of_epoch(dataset, epoch: int, **changes) -> list:
    """Returns the pipeline's batches of one epoch, with the settings that the public function should have chosen."""
    arguments = {
        "manifest": dataset,
        "folds": [1, 2],
        "framing": Framing((32, 32), "squash"),
        "recipe": parse_recipe(RECIPE),
        "batch_size": 6,
        "seed": 42,
    } | changes
    steps = dataset.photos("train", arguments["folds"]) // arguments["batch_size"]
    return arrays(pipeline.training_batches(epochs=epoch + 1, start_step=epoch * steps, **arguments))


def test_training_batches_begin_with_the_first_epoch_and_go_on_with_the_next(dataset):
    batches = carclf.training_batches(dataset, recipe=RECIPE, image_size=32, batch_size=6)
    assert len(batches) == 2
    for epoch in range(3):
        assert same(arrays(batches), of_epoch(dataset, epoch))
    assert not same(of_epoch(dataset, 0), of_epoch(dataset, 1))


def test_training_batches_heed_every_setting(dataset):
    batches = carclf.training_batches(
        dataset,
        recipe=parse_recipe("flip"),
        image_size=(16, 24),
        batch_size=5,
        val_fold=2,
        fit="crop",
        label_smoothing=0.1,
        class_weights="class 1:3",
        seed=7,
        initial_epoch=2,
    )
    expected = of_epoch(
        dataset,
        2,
        folds=[0, 1],
        framing=Framing((16, 24), "crop"),
        recipe=parse_recipe("flip"),
        batch_size=5,
        seed=7,
        label_smoothing=0.1,
        class_weights=np.array([1.0, 3.0, 1.0]),
    )
    assert same(arrays(batches), expected)
    assert len(carclf.training_batches(dataset, batch_size=8, val_fold=None, image_size=32)) == 3


def test_validation_batches_are_the_held_out_photos_as_they_are(dataset):
    batches = carclf.validation_batches(dataset, image_size=32, batch_size=5, val_fold=1, fit="pad")
    expected = pipeline.validation_batches(
        manifest=dataset, folds=[1], framing=Framing((32, 32), "pad"), batch_size=5, recipe=parse_recipe("")
    )
    assert same(arrays(batches), arrays(expected))
    assert sum(weight.sum() for _, _, weight in batches.as_numpy_iterator()) == 8


@pytest.mark.parametrize(
    ("split", "folds", "sizes"), [("test", None, [2, 2, 1]), ("train", [0, 2], [2] * 8), ("train", None, [2] * 12)]
)
def test_view_batches_follow_the_list_of_ids(dataset, split, folds, sizes):
    batches = list(
        carclf.view_batches(dataset, split=split, folds=folds, image_size=64, batch_size=2).as_numpy_iterator()
    )
    assert [len(batch["canvas"]) for batch in batches] == sizes
    ids = dataset.read_ids(split)
    rows = [row for row, fold in enumerate(ids["fold"]) if folds is None or fold in folds]
    photos = read_photos(dataset, split=split, rows=rows)
    for row, canvas in zip(rows, np.concatenate([batch["canvas"] for batch in batches]), strict=True):
        pixels = decode(photos[row])
        np.testing.assert_array_equal(canvas[: pixels.shape[0], : pixels.shape[1]], pixels)


def test_view_batches_show_their_view(dataset):
    (flip,) = parse_views("flip+size(16)")
    for view in ("flip+size(16)", flip):
        batch = next(carclf.view_batches(dataset, view=view, image_size=64, batch_size=2).as_numpy_iterator())
        assert batch["canvas"].shape == (2, 32, 40, 3)  # for the view's own size
        np.testing.assert_allclose(batch["geometry"], np.tile(np.diag([-1.0, 1, 1]), (2, 1, 1)))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda d: carclf.training_batches(d, recipe="flipp"), "flip"),
        (lambda d: carclf.training_batches(d, recipe="mixup(0.2)", batch_size=3), "make it even"),
        (lambda d: carclf.training_batches(d, batch_size=17), "more than the photos to train on"),
        (lambda d: carclf.training_batches(d, val_fold=3), "has no fold 3"),
        (
            lambda d: carclf.training_batches(d, batch_size=4, class_weights="class 9:2"),
            "^class_weights names the class 'class 9'",
        ),
        (lambda d: carclf.training_batches(d, batch_size=4, class_weights="zzz"), "^class_weights has 'zzz'"),
        (lambda d: carclf.validation_batches(d, val_fold=9), "has no fold 9"),
        (lambda d: carclf.view_batches(d, view="five_crop"), "is 5 views"),
        (lambda d: carclf.view_batches(d, view="flop"), "flip"),
        (lambda d: carclf.view_batches(d, split="test", folds=[0]), "give split='train' with folds="),
        (lambda d: carclf.view_batches(d, split="train", folds=[7]), "has no fold 7"),
        (lambda d: carclf.build_classifier("efficientnet_b9", class_count=3, weights="none"), "efficientnet_b0"),
        (lambda d: carclf.build_classifier("tiny", class_count=3, weights="none", head="attn"), "Known are notebook"),
        (lambda d: carclf.build_schedule("cosin", learning_rate=1, steps_per_epoch=1, epochs=1), "cosine"),
        (lambda d: carclf.build_schedule("plateau", learning_rate=1, steps_per_epoch=1, epochs=1), "ReduceLROnPlateau"),
        (lambda d: carclf.load_run("no_such_run"), "no run folder runs/no_such_run"),
        (lambda d: carclf.load_run(), "names no run"),
        (lambda d: carclf.load_run([]), "names no run"),
        (lambda d: carclf.open_dataset("no/such/folder"), f"no folder {os.getcwd()}/no/such/folder"),
    ],
)
def test_what_cannot_be_is_a_sentence(call, said, dataset):
    with pytest.raises(UserError, match=said) as error:
        call(dataset)
    assert "\n" not in str(error.value)


TRAINING = {"image_size": 32, "batch_size": 4}
WRONG = [
    ("training_batches", TRAINING, {
        "dataset": ["data/cars", None],
        "recipe": [["flip"], 5],
        "image_size": [4, 5000, "32", 32.0, None, True, (32,), (32, 32, 3), (32, 32.5), [], np.zeros((2, 2), int)],
        "batch_size": [0, -1, "8", None, 8.0, True, 2.5],
        "val_fold": [[0], "0", -1, 1.5, True],
        "fit": ["squeeze", None, ["crop"]],
        "label_smoothing": ["0.1", 1.0, -0.1, float("nan"), None, True],
        "class_weights": [{"a": 2.0}, ["balanced"], 2],
        "seed": [None, 1.5, "1"],
        "initial_epoch": [1.5, -1, None],
    }),
    ("view_batches", TRAINING, {
        "view": [None, ["flip"], (), 5],
        "split": ["val", None, ["test"]],
        "folds": [0, [], "0", [0.5], [None]],
        "seed": [None],
    }),
    ("validation_batches", TRAINING, {"val_fold": [[0], "0"], "image_size": ["32"]}),
    ("build_classifier", {"backbone": "tiny", "class_count": 3, "weights": "none"}, {
        "backbone": [None, 5],
        "class_count": [3.0, "3", None],
        "image_size": ["32", 32.5],
        "weights": [5, ""],
        "head": [None, ["linear"]],
        "head_width": [0, 1.5],
        "dropout": [1.0, "0.5", None],
        "l2": [-0.1, "0"],
    }),
    ("build_schedule", {"learning_rate": 0.1, "steps_per_epoch": 3, "epochs": 2}, {
        "name": [None, 5],
        "learning_rate": ["0.1", float("inf"), None],
        "steps_per_epoch": [0, 2.5],
        "epochs": [0, "2"],
        "warmup_epochs": [None], "decay": [None], "period_epochs": [None], "lowest_fraction": [None],
    }),
    ("load_run", {}, {
        "run": [None, "", 5, b"a", ["a", None]],
        "views": [None, (), [], ["flip"], 5],
        "tta_mean": ["mode", None],
        "batch_size": [2.5, "8", 0],
        "runs": [None, "", 5],
    }),
    ("open_dataset", {}, {"directory": [None, "", b"data", 5]}),
    ("list_backbones", {}, {"pattern": [None, 5]}),
    ("parse_recipe", {}, {"text": [None, ["flip"], 5]}),
    ("parse_views", {}, {"text": [None, ("flip",)]}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("function", "given", "name", "values"),
    [(function, given, name, values) for function, given, wrong in WRONG for name, values in wrong.items()],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_argument_of_another_kind_is_a_sentence(function, given, name, values, dataset):
    opened = {"dataset": dataset} if function.endswith("_batches") else {}
    for value in values:
        arguments = {**opened, **given, name: value}
        runs = [arguments.pop("run")] if name == "run" else ["a"] * (function == "load_run")
        with pytest.raises(UserError, match=rf"^{name} is .*: give .*\.$") as error:
            getattr(carclf, function)(*runs, **arguments)
        assert "\n" not in str(error.value)


def test_a_long_value_is_shown_in_part():
    with pytest.raises(UserError, match=r"^text is \['0', '1', .{70,90}…: give a text such as 'flip\|rotate\(10\)'\.$"):
        carclf.parse_recipe([str(number) for number in range(1000)])


def test_every_argument_has_its_kind():
    functions = [value for name in carclf.__all__ if inspect.isfunction(value := vars(api).get(name))]
    assert len(functions) == 11
    taken = {name for function in functions for name in inspect.signature(function).parameters}
    assert taken | {"text", "fill", "fill_value", "method"} == set(KINDS)
    assert all(hasattr(function, "__wrapped__") for function in functions)


def test_numpys_numbers_sequences_and_none_are_taken(dataset):
    expected = arrays(carclf.training_batches(dataset, image_size=(32, 40), batch_size=6, val_fold=1, seed=3))
    batches = carclf.training_batches(
        dataset, image_size=np.array([32, 40]), batch_size=np.int64(6), val_fold=np.int32(1), seed=np.uint8(3),
        recipe=None, class_weights=None, label_smoothing=np.float32(0), initial_epoch=np.int8(0),
    )  # fmt: skip
    assert same(arrays(batches), expected)
    sizes = {"image_size": 32, "batch_size": 4, "split": "train"}
    expected = list(carclf.view_batches(dataset, view="flip", folds=[0, 1], **sizes).as_numpy_iterator())
    (flip,) = views = carclf.parse_views("flip")
    for view in (flip, views, list(views)):
        found = carclf.view_batches(dataset, view=view, folds=np.arange(2), **sizes).as_numpy_iterator()
        assert all(map(np.array_equal, [one["geometry"] for one in found], [one["geometry"] for one in expected]))


def test_no_weights_are_none_and_a_classifier_needs_channels_last():
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(UserError, match=r"call keras\.config\.set_image_data_format\('channels_last'\) first"):
            carclf.build_classifier("tiny", class_count=3, weights=None)
    finally:
        keras.config.set_image_data_format("channels_last")
    assert carclf.build_classifier("tiny", class_count=np.int64(3), weights=None).output_shape == (None, 3)


def test_a_list_of_runs_is_several_runs(tmp_path):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b")
    with pytest.raises(UserError, match=r"There is no run folder .*/c"):
        carclf.load_run(["a", tmp_path / "b", "c"], runs=tmp_path)
    with pytest.raises(UserError, match="/a has no best"):
        carclf.load_run(("a", "b"), runs=tmp_path)


def test_a_run_in_a_folder_with_a_comma_is_one_run(tmp_path):
    make_run(tmp_path / "a,b" / "run")
    make_run(tmp_path / "c")
    make_run(tmp_path / "d")
    with pytest.raises(UserError, match="a,b/run has no best"):
        carclf.load_run(tmp_path / "a,b" / "run")
    with pytest.raises(UserError, match="/c has no best"):
        carclf.load_run(f"{tmp_path}/c, {tmp_path}/d")  # a list, as --run has
    with pytest.raises(UserError, match="a,b/run has no best"):
        carclf.load_run(f"{tmp_path}/a,b/run,{tmp_path}/c")


def test_a_data_set_is_opened_by_any_path(dataset, monkeypatch):
    folder = Path(dataset.directory)
    monkeypatch.setenv("HOME", str(folder.parent))
    opened = carclf.open_dataset(folder)
    assert isinstance(opened, carclf.Dataset)
    assert opened == dataset
    assert repr(opened) == f"<data set {folder}: 24 training and 5 test photos, 3 classes, 3 folds>"
    assert carclf.open_dataset(f"~/{folder.name}").class_names == ("class 0", "class 1", "class 2")


def test_a_data_set_of_a_relative_path_is_read_from_any_folder(dataset, monkeypatch, tmp_path):
    folder = Path(dataset.directory)
    monkeypatch.chdir(folder.parent)
    opened = carclf.open_dataset(folder.name)
    batches = carclf.training_batches(opened, image_size=32, batch_size=6)
    monkeypatch.chdir(tmp_path)
    assert len(opened.read_ids("test")) == 5
    assert len(arrays(batches)) == 2 * 8
    assert carclf.open_dataset(folder) == opened


@pytest.mark.parametrize("backend", ["numpy", "openvino"])
def test_a_backend_that_computes_no_run_is_refused_before_it_is_imported(backend, tmp_path):
    make_run(tmp_path / "a")
    program = f"import carclf; carclf.load_run({str(tmp_path / 'a')!r})"
    environment = os.environ | {"KERAS_BACKEND": backend}
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert answer.stderr.splitlines()[-1] == (
        f"carclf.errors.UserError: KERAS_BACKEND={backend} is not supported: unset it, or set it to tensorflow or jax."
    )


def test_the_backend_that_a_program_has_imported_counts(tmp_path, monkeypatch):
    make_run(tmp_path / "a")
    monkeypatch.setattr("keras.backend.backend", lambda: "numpy")
    with pytest.raises(UserError, match="KERAS_BACKEND=numpy is not supported"):
        carclf.load_run(tmp_path / "a")


def test_a_classifier_takes_the_size_its_weights_were_made_for():
    classifier = carclf.build_classifier("tiny", class_count=3, weights="none", head_width=5, dropout=0.5, l2=0.0)
    assert classifier.input_shape == (None, 96, 96, 3)
    assert classifier.output_shape == (None, 3)
    assert classifier.get_layer("head_dense").units == 5
    assert classifier.get_layer("head_dense").kernel_regularizer is None
    assert classifier.get_layer("head_dropout").rate == 0.5


@pytest.mark.parametrize("name", api.list_schedules())
def test_a_schedule_gives_its_rates_to_any_optimizer(name):
    arguments = {"learning_rate": 0.2, "steps_per_epoch": 3, "epochs": 4, "decay": 0.5, "lowest_fraction": 0.1}
    made = carclf.build_schedule(name, period_epochs=1.0, **arguments)
    expected = build_schedule(name, period_epochs=1.0, **arguments)
    for step in (0, 4, 11):
        assert float(made(step)) == pytest.approx(expected.at(step), rel=1e-5)


def test_the_lists_hold_what_can_be_asked_for():
    assert carclf.list_backbones("efficientnet_b?") == [f"efficientnet_b{n}" for n in range(8)]
    assert {"flip", "rotate", "cutmix", "notebook"} <= set(carclf.list_recipes())
    assert carclf.list_schedules("cos*") == ["cosine"]
    assert carclf.list_heads("*i*") == ["linear", "attention"]
    assert carclf.list_backbones("nothing") == []


@pytest.mark.parametrize(
    ("call", "package"),
    [
        (lambda d: carclf.validation_batches(d), "tensorflow"),
        (lambda d: carclf.build_classifier(class_count=2), "keras"),
    ],
)
def test_a_missing_framework_is_told_with_the_command_that_installs_it(call, package, dataset, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=f"{package} is not installed: pip install .*cpu"):
        call(dataset)


@pytest.mark.slow
def test_a_type_checker_sees_the_types(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import carclf\n"
        "dataset = carclf.open_dataset('data')\n"
        "reveal_type(dataset.class_names)\n"
        "reveal_type(carclf.load_run('a')('car.jpg'))\n"
        "reveal_type(carclf.list_backbones())\n"
        "carclf.training_batches(dataset, image_size='224')\n"
        "carclf.open_data('data')\n"
    )
    answer = subprocess.run(
        [sys.executable, "-m", "mypy", "--ignore-missing-imports", str(script)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"MYPYPATH": str(ROOT)},
    )
    for line, said in enumerate(
        ("tuple[str, ...]", "ndarray", "list[str]", 'incompatible type "str"', "has no attribute"), start=3
    ):
        assert any(f"script.py:{line}:" in told and said in told for told in answer.stdout.splitlines()), answer.stdout
