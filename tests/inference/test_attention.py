import keras
import numpy as np
import pytest

from carclf.data.photos import read_canvases
from carclf.framing import Framing, Rendering
from carclf.inference.attention import photo_heat
from carclf.model.classifier import build_classifier
from carclf.model.grad_cam import build_grad_cam, heat_map
from carclf.model.render import Render
from carclf.recipe import parse_recipe

FRAMING = Framing(image_size=(32, 48))


@pytest.fixture(scope="module")
def classifier():
    keras.utils.set_random_seed(1)
    return build_classifier(backbone="tiny", weights="none", class_count=3, image_size=FRAMING.image_size)


def heat_of(classifier, dataset, labels):
    return photo_heat(
        classifier, framing=FRAMING, rendering=Rendering(), manifest=dataset, split="train", labels=labels
    )


def test_canvases_have_the_photos_of_the_rows_in_their_order(dataset):
    canvas, extent = read_canvases(dataset, split="train", rows=[5, 0, 5], framing=Framing((32, 32)))
    sizes = dataset.read_ids("train")[["height", "width"]].to_numpy()
    assert extent.tolist() == sizes[[5, 0, 5]].tolist()
    np.testing.assert_array_equal(canvas[0], canvas[2])
    assert canvas[1, :48, :64].mean() > 50
    assert not canvas[1, 48:].any()
    half, extent = read_canvases(dataset, split="train", rows=[0], framing=Framing((16, 16)))
    assert half.shape == (1, 32, 40, 3)  # photos of 40 pixels cannot be halved
    assert extent.tolist() == [[24, 32]]


def test_heat_is_that_of_grad_cam_for_the_requested_labels_on_one_scale(classifier, dataset):
    canvas, extent = read_canvases(dataset, split="train", rows=[3], framing=FRAMING)
    draws = parse_recipe("").draw(
        seed=0, epoch=0, row=np.array([3]), extent=extent, image_size=FRAMING.image_size, fit="squash"
    )
    render = Render(image_size=FRAMING.image_size, fill="edge", mixing=False, erasing=False, jit=False)
    arrays = {"canvas": canvas, "extent": extent, "geometry": draws.geometry, "colour": draws.colour}
    image = render({name: keras.ops.convert_to_tensor(array) for name, array in arrays.items()})
    evidence = keras.ops.convert_to_numpy(build_grad_cam(classifier)(image)["evidence"])[0]
    heat, geometry = heat_of(classifier, dataset, {3: (2, 0)})[3]
    assert heat.shape == (2, 3, 2)
    np.testing.assert_allclose(heat, heat_map(evidence[..., [2, 0]]), atol=1e-4)
    assert heat.max() == pytest.approx(1.0)
    np.testing.assert_allclose(geometry, draws.geometry[0])


def test_a_photo_has_the_same_heat_alone_and_among_more_than_a_batch(classifier, dataset):
    labels = dict.fromkeys(range(2, 13), (1,))
    together = heat_of(classifier, dataset, labels)
    assert sorted(together) == sorted(labels)
    alone = heat_of(classifier, dataset, {12: (1,)})
    np.testing.assert_allclose(together[12][0], alone[12][0], atol=1e-4)


def test_without_photos_there_is_no_heat(classifier, dataset):
    assert heat_of(classifier, dataset, {}) == {}
