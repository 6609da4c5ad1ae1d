"""The trial of guided crops: boxes, the draws that use them, repeated photos, and its table."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from carclf.probing.extractors import parse_extractors
from carclf.recipe import parse_recipe
from tests.conftest import write_dataset

ROOT = Path(__file__).parent.parent
WHOLE = [-1.0, -1.0, 1.0, 1.0]
RECIPE = "flip|rotate(5)|zoom(0.15)|brightness(0.8,1.2)"


@pytest.fixture
def guided(monkeypatch):
    """Returns the module guided_crops of benchmarks/."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import guided_crops

    yield guided_crops
    for name in ("guided_crops", "held_out", "ledger", "ledger_page", "ledger_rows", "measuring"):
        sys.modules.pop(name, None)


def draw(recipe, rows, **changes):
    extent = np.full((len(rows), 2), 64.0, np.float32)
    given = {"seed": 1, "epoch": 2, "row": np.array(rows), "extent": extent, "image_size": (32, 32)}
    return recipe.draw(**given | changes)


def guided_recipe(guided, boxes, *, cropped=0.0, erased=0.0, text=RECIPE):
    recipe = parse_recipe(text)
    return guided.GuidedRecipe(recipe.spec, recipe.steps, boxes=np.array(boxes), cropped=cropped, erased=erased)


def test_a_box_holds_what_reaches_half_of_the_maximum(guided):
    heat = np.zeros((4, 4), np.float32)
    heat[1, 2], heat[3, 0] = 1.0, 0.4
    u0, v0, u1, v1 = guided.box_of(heat, np.eye(3, dtype=np.float32))
    assert u0 == pytest.approx(0.0, abs=0.05)  # half-way to the neighbours of position (1, 2)
    assert u1 == pytest.approx(0.5, abs=0.05)
    assert (v0, v1) == (pytest.approx(-0.5, abs=0.05), pytest.approx(0.0, abs=0.05))


def test_a_box_is_in_the_photo_wherever_the_map_is(guided):
    heat, inner = np.ones((3, 3), np.float32), np.diag([0.5, 2.0, 1.0]).astype(np.float32)
    assert guided.box_of(heat, np.eye(3, dtype=np.float32)).tolist() == WHOLE
    assert guided.box_of(heat, inner).tolist() == [-0.5, -1.0, 0.5, 1.0]
    assert guided.box_of(0 * heat, inner).tolist() == WHOLE


def test_a_crop_shows_its_box_with_a_margin(guided):
    boxes = guided.with_margin(np.array([[-0.5, -0.25, 0.0, 0.5], [-1.0, 0.0, 0.95, 1.0]]))
    np.testing.assert_allclose(boxes, [[-0.7, -0.45, 0.2, 0.7], [-1.0, -0.2, 1.0, 1.0]])
    corners = guided.crop_to(boxes) @ np.array([[-1.0, 1.0], [-1.0, 1.0], [1.0, 1.0]])
    np.testing.assert_allclose(corners[:, :2].transpose(0, 2, 1).reshape(2, 4), boxes)


def test_an_erased_box_follows_the_photo(guided):
    box = np.array([[-1.0, -1.0, 0.0, -0.5]])  # the left half of the upper quarter
    recipe = guided_recipe(guided, box, erased=1.0, text="flip(p=1)")
    assert recipe.erases
    np.testing.assert_allclose(draw(recipe, [0]).erase[0], [0.0, 0.5, 0.25, 1.0, 124.0, 116.0, 104.0])
    turned = draw(guided_recipe(guided, [[-0.5, -0.5, 0.5, 0.5]], erased=1.0, text="rotate(45)"), [0])
    y0, x0, y1, x1 = turned.erase[0, :4]
    side = np.abs(turned.geometry[0, 0, :2]).sum() / 2  # of the upright box around the turned one
    assert side > 0.55
    np.testing.assert_allclose([x1 - x0, y1 - y0], side, atol=1 / 32)
    np.testing.assert_allclose([x0 + x1, y0 + y1], 1.0, atol=1 / 32)


def test_the_fractions_of_the_photos_are_changed_and_the_others_are_not(guided):
    rows = np.arange(2000)
    boxes = np.tile([-0.5, -0.5, 0.5, 0.5], (2000, 1))
    plain = draw(parse_recipe(RECIPE), rows)
    found = draw(guided_recipe(guided, boxes, cropped=0.25, erased=0.25), rows)
    crops = (found.geometry != plain.geometry).any(axis=(1, 2))
    erases = (found.erase != 0).any(axis=1)
    assert abs(crops.mean() - 0.25) < 0.04
    assert abs(erases.mean() - 0.25) < 0.04
    assert not (crops & erases).any()
    np.testing.assert_allclose(found.geometry[crops][:, :2], 0.7 * plain.geometry[crops][:, :2], atol=1e-6)
    np.testing.assert_array_equal(found.colour, plain.colour)
    nothing = draw(guided_recipe(guided, boxes), rows)
    np.testing.assert_array_equal(nothing.geometry, plain.geometry)
    assert not guided_recipe(guided, boxes).erases


def test_a_draw_depends_on_the_row_alone_and_padding_is_left_alone(guided):
    recipe = guided_recipe(guided, np.tile([-0.5, 0.0, 0.5, 1.0], (50, 1)), cropped=0.5, erased=0.5)
    together, alone = draw(recipe, list(range(50))), draw(recipe, [-1, 7])
    for name in ("geometry", "erase", "colour"):
        np.testing.assert_array_equal(getattr(together, name)[7], getattr(alone, name)[1])
    np.testing.assert_array_equal(alone.geometry[0], np.eye(3))
    assert not alone.erase[0].any()
    assert (draw(recipe, list(range(50)), epoch=3).geometry != together.geometry).any()


def test_the_second_draw_of_a_photo_is_another(guided):
    recipe = parse_recipe(RECIPE)
    second = guided.SecondDraw(recipe.spec, recipe.steps)
    first, other = draw(recipe, [0, 1]), draw(second, [0, 1])
    assert (first.geometry != other.geometry).any(axis=(1, 2)).all()
    np.testing.assert_array_equal(other.geometry, draw(second, [0, 1]).geometry)


@dataclasses.dataclass(frozen=True)
class Stage:
    """What `training_data` needs of a stage."""

    options: object
    manifest: object
    phase: object
    recipe: object
    framing: object
    train_folds: tuple[int, ...] = (0, 1)
    class_weights: object = None


def test_a_repeated_batch_holds_each_photo_in_two_draws(guided, dataset):
    from carclf.framing import Framing
    from carclf.train_options import TrainOptions
    from carclf.training.phases import plan_phases

    options = TrainOptions(image_size="32", batch_size=8, epochs=2)
    (phase,) = plan_phases(options, train_photos=16)
    stage = Stage(options, dataset, phase, parse_recipe(RECIPE), Framing((32, 32)))
    batches = list(guided.repeated_batches(stage, cache=None).as_numpy_iterator())
    assert len(batches) == 2 * phase.steps_per_epoch
    for inputs, target, weight in batches:
        for array in (inputs["canvas"], inputs["extent"], target, weight):
            np.testing.assert_array_equal(array[:4], array[4:])
        assert (inputs["geometry"][:4] != inputs["geometry"][4:]).any(axis=(1, 2)).all()
        assert len(np.unique(inputs["canvas"][:4], axis=0)) == 4


def test_each_row_is_measured_once_and_compared_with_the_control(guided, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(guided.ledger, "load_manifest", lambda path: None)
    trained = []

    def measure(options, row, case, work):
        trained.append(row.name)
        return {"right": "1100" if row.name == "milder" else "1110", "seconds": 3.0}

    monkeypatch.setattr(guided, "measure", measure)
    options = guided.GuidedOptions(data="cars", rows="crop,repeated", folds=1, work=str(tmp_path))
    guided.main(options)
    assert "| 0.750 | 0.30–0.95 | `milder` | +1 −0 | 1, noise | 3 |" in capsys.readouterr().out
    guided.main(dataclasses.replace(options, rows=""))
    assert trained == ["milder", "crop", "repeated", "crop_erase", "head_crop"]


@pytest.mark.slow
def test_without_crops_the_training_is_that_of_the_control(guided, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    data, work = write_dataset(tmp_path / "cars", photos_a_fold=32), tmp_path / "work"
    options = guided.GuidedOptions(data=data.directory, backbones="tiny@32=none", device="cpu", folds=1, work=str(work))
    (case,) = guided.ledger.cases(options, parse_extractors(options.backbones))
    guided.measure(options, guided.CONTROL, case, work)
    crop, repeated, *_ = guided.ROWS
    for row in (dataclasses.replace(crop, name="nothing", cropped=0.0), repeated):
        guided.measure(options, row, case, work)
    control, nothing, twice = (
        pd.read_csv(case.folder(work) / name / "history.csv")[["loss", "val_loss"]]
        for name in ("milder", "nothing", "repeated")
    )
    pd.testing.assert_frame_equal(nothing, control, check_exact=True)
    assert (twice["loss"] != control["loss"]).all()
    ids = [pd.read_csv(case.folder(work) / f"{name}.csv")["Id"].tolist() for name in ("milder", "repeated")]
    assert ids[0] == ids[1]
