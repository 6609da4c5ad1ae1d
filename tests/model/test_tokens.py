"""Patches become tokens with positions of any grid, and tokens a feature map."""

import keras
import numpy as np
import pytest

from carclf.model.tokens import PatchTokens, TokenMap, cubic_matrix


def numbers(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.mark.parametrize(("count", "known"), [(5, 5), (7, 4), (3, 8), (9, 1)])
def test_resampling_keeps_constants_and_the_same_grid(count, known):
    matrix = cubic_matrix(count, known)
    assert matrix.shape == (count, known)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
    if count == known:
        np.testing.assert_allclose(matrix, np.eye(count), atol=1e-6)


def test_resampling_follows_a_line_inside():
    line = np.arange(8.0)
    wanted = (np.arange(16) + 0.5) / 2 - 0.5
    np.testing.assert_allclose((cubic_matrix(16, 8) @ line)[4:-4], wanted[4:-4], atol=0.05)


def tokens(grid=(2, 3), prefix=1):
    layer = PatchTokens(patch=(4, 2), grid=grid, width=5, prefix=prefix)
    layer.build((None, None, None, 3))
    rng = np.random.default_rng(0)
    layer.set_weights([rng.normal(size=weight.shape) for weight in layer.weights])
    return layer


def test_tokens_are_the_prefix_and_patches_with_positions():
    layer = tokens()
    images = np.random.default_rng(1).normal(size=(2, 8, 6, 3)).astype("float32")
    found = numbers(layer(images))
    assert found.shape == (2, 7, 5)
    np.testing.assert_allclose(found[:, 0], np.tile(numbers(layer.prefix_tokens.value), (2, 1)), rtol=1e-5)
    patch = images[1, 4:8, 2:4]  # the fifth
    wanted = np.tensordot(patch, numbers(layer.kernel.value), axes=3) + numbers(layer.bias.value)
    np.testing.assert_allclose(found[1, 5], wanted + numbers(layer.positions.value)[1, 1], rtol=1e-4, atol=1e-4)


def test_positions_are_resampled_down_and_across():
    layer = tokens(prefix=0)
    blank = numbers(layer(np.zeros((1, 16, 12, 3), "float32")))[0].reshape(4, 6, 5)
    positions = numbers(layer.positions.value)
    wanted = np.einsum("yi,xj,ijd->yxd", cubic_matrix(4, 2), cubic_matrix(6, 3), positions)
    np.testing.assert_allclose(blank, wanted + numbers(layer.bias.value), rtol=1e-4, atol=1e-4)


def test_a_map_has_the_patches_in_their_places_and_the_first_token_beside_each():
    sequence = np.arange(2 * 8 * 3, dtype="float32").reshape(2, 8, 3)
    plain = numbers(TokenMap(grid=(2, 3), prefix=2, with_first=False)(sequence))
    np.testing.assert_array_equal(plain, sequence[:, 2:].reshape(2, 2, 3, 3))
    both = numbers(TokenMap(grid=(2, 3), prefix=2, with_first=True)(sequence))
    np.testing.assert_array_equal(both[..., 3:], plain)
    np.testing.assert_array_equal(both[:, 1, 2, :3], sequence[:, 0])


def test_a_saved_model_gives_the_same(tmp_path):
    images = keras.Input((16, 12, 3))
    layer = tokens()
    model = keras.Model(images, TokenMap(grid=(4, 6), prefix=1, with_first=True)(layer(images)))
    model.save(tmp_path / "tokens.keras")
    again = keras.models.load_model(tmp_path / "tokens.keras")
    batch = np.random.default_rng(1).normal(size=(1, 16, 12, 3)).astype("float32")
    np.testing.assert_allclose(numbers(again(batch)), numbers(model(batch)), rtol=1e-5)
