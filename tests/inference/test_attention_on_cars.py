"""Grad-CAM of ImageNet features with a head trained on drawn cars, whose position is known to the pixel."""

import io
import os
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from carclf.model.classifier import build_classifier
from carclf.model.grad_cam import build_grad_cam, heat_map
from carclf.synthetic import draw
from carclf.synthetic.kinds import CAR_KINDS
from carclf.synthetic.palette import generator
from carclf.training.features import build_head_model

SHARED = Path(os.environ.get("CARCLF_SHARED", Path(__file__).parents[3] / "shared"))
WEIGHTS = SHARED / "data" / "weights" / "mobilenet_v2_1.0_224_notop.weights.h5"
PHOTO_SIZE, IMAGE_SIZE = (320, 240), (224, 224)
PHOTOS, LOOKED_AT = 240, 48


def photo(number: int) -> np.ndarray:
    encoded = draw.draw_jpeg(kind=number % len(CAR_KINDS), photo_id=f"{number}.jpg", seed=5, size=PHOTO_SIZE)
    return np.asarray(Image.open(io.BytesIO(encoded)).resize(IMAGE_SIZE[::-1]), np.float32)


def car_mask(number: int, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """bool, of the image's size: the pixels that change when the scene is drawn without its car."""
    scenes = []
    for present in (True, False):
        with monkeypatch.context() as patch:
            if not present:
                patch.setattr(draw, "draw_car", lambda *_, **__: None)
            rng = generator(5, f"{number}.jpg")
            size = draw._upright(rng, PHOTO_SIZE)
            scenes.append(np.asarray(draw._draw_scene(rng, number=number % len(CAR_KINDS), size=size), np.int64))
    changed = np.abs(scenes[0] - scenes[1]).max(axis=-1) > 4
    return np.asarray(Image.fromarray(changed).resize(IMAGE_SIZE[::-1]))


@pytest.mark.slow
@pytest.mark.skipif(not WEIGHTS.is_file(), reason="the real MobileNetV2 weights are not here")
def test_the_heat_lies_on_the_car(monkeypatch):
    keras.utils.set_random_seed(0)
    classifier = build_classifier(
        backbone="mobilenet_v2", weights=str(WEIGHTS), class_count=len(CAR_KINDS), image_size=IMAGE_SIZE
    )
    images = np.stack([photo(number) for number in range(PHOTOS)])
    pooled = keras.Model(classifier.input, classifier.get_layer("head_pool").output)
    head = build_head_model(classifier)
    head.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    pooled.compile(jit_compile=False)
    features = pooled.predict(images, batch_size=16, verbose=0)
    labels = np.arange(PHOTOS) % len(CAR_KINDS)
    head.fit(features, labels, epochs=40, verbose=0)

    grad_cam = build_grad_cam(classifier)
    grad_cam.compile(jit_compile=False)
    evidence = grad_cam.predict(images[:LOOKED_AT], batch_size=16, verbose=0)["evidence"]
    on_car, covered, hottest = [], [], []
    for number in range(LOOKED_AT):
        mask = car_mask(number, monkeypatch)
        heat = Image.fromarray(heat_map(evidence[number, ..., labels[number]])).resize(
            IMAGE_SIZE[::-1], Image.Resampling.BILINEAR
        )
        heat = np.asarray(heat)
        on_car.append((heat * mask).sum() / heat.sum())
        covered.append(mask.mean())
        hottest.append(mask[np.unravel_index(heat.argmax(), heat.shape)])
    assert np.mean(on_car) > 1.5 * np.mean(covered)
    assert np.mean(hottest) > 0.6
