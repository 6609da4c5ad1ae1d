"""Rotation, shift, cutout, the cyclical rates and the focal loss equal those of TensorFlow Addons, which they replace.

The goldens are Addons' own results (see addons.py), so the comparison runs wherever carclf does. One test makes them
again where Addons is installed. Make them anew with `python tests/oracle/addons.py tests/oracle/goldens.npz`.
"""

import functools
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from addons import (
    ANGLES,
    CUTOUTS,
    CYCLES,
    FILL_VALUE,
    FOCAL_GAMMAS,
    FOCAL_LOGITS,
    PHOTOS,
    RANDOM_MASK,
    SHIFTS,
    STEPS,
)

from carclf.model.losses import build_loss
from carclf.model.render import Render
from carclf.model.schedules import build_schedule
from carclf.recipe import RECIPES, geometry, mixing
from carclf.recipe.operation import Frame

SCRIPT = Path(__file__).with_name("addons.py")
GOLDENS = Path(__file__).with_name("goldens.npz")
OUR_FILL = {"nearest": "edge", "reflect": "reflect", "constant": "constant"}

# Levels of 255. Both sides place a sample in float32, some 1e-6 pixels apart, and neighbours in noise are up to 254
# levels apart. Measured: 0.0009. A position wrong by a hundredth of a pixel shows as more than 1.
LEVELS = 0.004
# Relative. The rates are float64 on both sides; measured: 1e-14.
RATE = 1e-6

WARPS = [(name, fill) for name, photo in PHOTOS.items() for fill in photo.fills]


@pytest.fixture(scope="module")
def goldens():
    with np.load(GOLDENS) as file:
        return dict(file)


@functools.cache  # compiled once: every batch has the same shapes
def render_layer(name, *, fill, erasing):
    """On TensorFlow one with XLA and the rest without, which gives the same images (tests/model) and takes no time."""
    size = (PHOTOS[name].height, PHOTOS[name].width)
    jit = keras.backend.backend() != "tensorflow" or (name, fill, erasing) == (next(iter(PHOTOS)), "edge", False)
    return Render(image_size=size, fill=fill, fill_value=FILL_VALUE, erasing=erasing, jit=jit)


def rendered(name, *, matrices=None, boxes=None, fill="edge"):
    """float32 [B, H, W, 3]: the photo through Render at its own size, once for every matrix or box."""
    photo = PHOTOS[name]
    batch = len(boxes if matrices is None else matrices)
    canvas = np.full((batch, 40, 40, 3), 255, np.uint8)  # white where there is no photo: none of it may be seen
    canvas[:, : photo.height, : photo.width] = photo.pixels()
    inputs = {
        "canvas": canvas,
        "extent": np.full((batch, 2), (photo.height, photo.width), np.float32),
        "geometry": np.float32(geometry.identity(batch) if matrices is None else matrices),
        "colour": np.tile(np.eye(3, 4, dtype=np.float32), (batch, 1, 1)),
    }
    if boxes is not None:
        inputs["erase"] = np.float32(boxes)
    return np.asarray(render_layer(name, fill=fill, erasing=boxes is not None)(inputs))


def assert_same_picture(ours, golden):
    """Every pixel is compared, the border too: Addons clamps, reflects and fills as Render does.

    The centre of rotation is the same too: Addons turns about pixel index (side - 1) / 2, Render about the middle
    between the edges, side / 2 - 0.5.
    """
    if golden.dtype == np.uint8:  # truncated by Addons, so less than one level below
        cut_off = ours.astype(np.float64) - golden
        assert cut_off.min() > -LEVELS
        assert cut_off.max() < 1.0 + LEVELS
    else:
        np.testing.assert_allclose(ours, golden, rtol=0.0, atol=LEVELS)


@pytest.mark.parametrize(("name", "fill"), WARPS)
def test_rotation(name, fill, goldens):
    aspect = PHOTOS[name].width / PHOTOS[name].height
    matrices = geometry.rotation(np.deg2rad(ANGLES), aspect=aspect)
    assert_same_picture(rendered(name, matrices=matrices, fill=OUR_FILL[fill]), goldens[f"rotate/{name}/{fill}"])


@pytest.mark.parametrize(("name", "fill"), WARPS)
def test_translation(name, fill, goldens):
    right, down = np.array(SHIFTS).T
    photo = PHOTOS[name]
    matrices = geometry.translation(right / photo.width, down / photo.height, batch=len(SHIFTS))
    assert_same_picture(rendered(name, matrices=matrices, fill=OUR_FILL[fill]), goldens[f"translate/{name}/{fill}"])


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("number", range(len(CUTOUTS)))
def test_erase_covers_what_cutout_covers(name, number, goldens):
    case, size = CUTOUTS[number], (PHOTOS[name].height, PHOTOS[name].width)
    centre_y, centre_x = (np.array(case.offsets) / size).T
    height, width = (np.full(len(centre_y), mask / side) for mask, side in zip(case.mask_size, size, strict=True))
    boxes = mixing.boxes(centre_y, centre_x, height, width, image_size=size)
    boxes = np.concatenate([boxes, np.full((len(boxes), 3), case.value)], axis=1)
    np.testing.assert_array_equal(rendered(name, boxes=boxes), goldens[f"cutout/{name}/{number}"])


def drawn_cutouts(name, offsets, *, mask):
    """float64 [B, 7]: what the recipe's cutout draws when its uniforms are those centres."""
    frame = Frame(image_size=(PHOTOS[name].height, PHOTOS[name].width))
    uniforms = np.zeros((5, len(offsets)))
    uniforms[:2] = (np.array(offsets) / frame.image_size).T
    return RECIPES["cutout"].draw(uniforms, frame, size=mask / min(frame.image_size), fill=0.0)


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("number", [number for number, case in enumerate(CUTOUTS) if not case.value])
def test_the_recipes_cutout_covers_what_cutout_covers(name, number, goldens):
    case = CUTOUTS[number]
    boxes = drawn_cutouts(name, case.offsets, mask=case.mask_size[0])
    np.testing.assert_array_equal(rendered(name, boxes=boxes), goldens[f"cutout/{name}/{number}"])


@pytest.mark.parametrize("name", PHOTOS)
def test_the_recipes_cutout_can_draw_what_random_cutout_drew(name, goldens):
    golden = goldens[f"random_cutout/{name}"]
    # The photos have no 0, so the first pixel that is one is the mask's upper left; the centre is half a mask on.
    offsets = [np.argwhere(image[..., 0] == 0)[0] + RANDOM_MASK // 2 for image in golden]
    boxes = drawn_cutouts(name, offsets, mask=RANDOM_MASK)
    np.testing.assert_array_equal(rendered(name, boxes=boxes), golden)


@pytest.mark.parametrize("number", range(len(CYCLES)))
@pytest.mark.parametrize("name", ["triangular", "triangular2", "exp_range"])
def test_cyclical_rates(name, number, goldens):
    """Addons counts in steps, carclf in epochs of `steps_per_epoch`; the number of steps in one must not matter.

    Addons                  carclf
    initial_learning_rate   learning_rate × lowest_fraction
    maximal_learning_rate   learning_rate
    step_size               period_epochs × steps_per_epoch
    gamma, per step         decay, per epoch: gamma = decay ^ (1 / steps_per_epoch), decay = gamma ^ steps_per_epoch
    """
    cycle = CYCLES[number]
    for steps_per_epoch in (1, 10, 37):
        schedule = build_schedule(
            f"cyclic_{name}",
            learning_rate=cycle.highest,
            steps_per_epoch=steps_per_epoch,
            epochs=1,
            decay=cycle.gamma**steps_per_epoch,
            period_epochs=cycle.step_size / steps_per_epoch,
            lowest_fraction=cycle.lowest / cycle.highest,
        )
        ours = [schedule.at(step) for step in STEPS]
        # Where a cycle ends at a rate of 0, rounding may leave a few 1e-16 of the highest.
        np.testing.assert_allclose(ours, goldens[f"schedule/{name}/{number}"], rtol=RATE, atol=1e-14 * cycle.highest)


@pytest.mark.parametrize("gamma", FOCAL_GAMMAS)
def test_focal_loss(gamma, goldens):
    """Addons' one output with a sigmoid is two classes with a softmax, the other logit being 0.

    With more outputs, or soft targets, Addons has another loss: it adds up one-against-the-rest. The losses
    of certain answers, below 1e-4, are compared absolutely: Addons takes the complement 1 − p from a rounded p.
    """
    logits = np.stack([np.zeros(len(FOCAL_LOGITS)), FOCAL_LOGITS], axis=1).astype(np.float32)
    loss = build_loss("focal", focal_gamma=gamma)
    ours = [
        np.asarray(loss.call(np.tile(np.eye(2, dtype=np.float32)[label], (len(logits), 1)), logits)) for label in (0, 1)
    ]
    np.testing.assert_allclose(ours, goldens[f"focal/{gamma}"], rtol=1e-5, atol=1e-7)


@pytest.mark.skipif(importlib.util.find_spec("tensorflow_addons") is None, reason="extra tfa is not installed")
def test_addons_still_gives_the_goldens(tmp_path, goldens):
    path = tmp_path / "live.npz"
    # The script chooses its own Keras; a backend chosen for the tests is none of its business.
    environment = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    done = subprocess.run([sys.executable, str(SCRIPT), str(path)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(path) as file:
        live = dict(file)
    assert live.keys() == goldens.keys()
    for key, golden in goldens.items():
        assert (live[key].dtype, live[key].shape) == (golden.dtype, golden.shape), key
        # Another CPU may round a sine or a product the other way; a truncation can make a whole level of that.
        tolerance = {"float32": LEVELS, "float64": 1e-15, "uint8": 1 if "cutout" not in key else 0}[golden.dtype.name]
        difference = np.abs(live[key].astype(np.float64) - golden)
        assert difference.max() <= tolerance, key
