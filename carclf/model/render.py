"""Render: canvases and matrices in, network input out. One interpolation from JPEG pixels to the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from carclf.arguments import ANY_SIZE, taken
from carclf.framing import PaddingMode, RenderMethod
from carclf.model.compile import compiled_on_jax, gather_rows, xla
from carclf.model.pixel_map import centres, coverage, is_affine, pixel_map, reflect, sample_step
from carclf.model.separable import sample_separably

Tensor = Any


def render(
    canvas: Tensor,
    extent: Tensor,
    geometry: Tensor,
    colour: Tensor,
    mix: Tensor | None = None,
    erase: Tensor | None = None,
    *,
    image_size: tuple[int, int],
    fill: PaddingMode = "edge",
    fill_value: float = 0.0,
    stretch: bool = False,
    method: RenderMethod = "gather",
    affine: bool = False,
    per_channel: bool = False,
    branching: bool = True,
) -> Tensor:
    """Returns the images rendered from the photos: float32 [B, H, W, 3] in 0..255.

    Every output pixel is mapped into the photo and interpolated between its four neighbours; then follow colour, a
    single clip to 0..255, mixing and erasing. If the shapes of the arguments are static, all shapes are, so XLA can
    compile it.

    Args:
      canvas: uint8 [B, Y, X, 3], photo in the top-left corner.
      extent: float32 [B, 2], (height, width) of the photo in pixels.
      geometry: float32 [B, 3, 3], output (u, v, 1) to photo (u, v, 1), both in [-1, 1] from edge to edge;
        its last row gives a positive number for every point on this side of the horizon.
      colour: float32 [B, 3, 4], affine map of RGB in 0..255.
      mix: float32 [B, 5], lambda and pasted box, for an even B; None mixes nothing.
      erase: float32 [B, 7], box and RGB; None erases nothing.
      image_size: (H, W) in pixels.
      fill: padding mode: the photo's `edge` pixel, its mirror image (`reflect`), or a `constant`.
      fill_value: the value of `constant`, 0..255, before colour.
      stretch: before colour, map each image's darkest value to 0 and its brightest to 255, as Keras's old
        ImageDataGenerator does silently when it changes the brightness.
      method: how to interpolate: `gather` the neighbours, or multiply `separable` matrices, which gives the same image
        to 0.01 of 255 if all geometry is axis-aligned (`carclf.model.separable`).
      affine: no geometry has a perspective, so the branches for those are left out. A photo that has one becomes NaN.
      per_channel: every colour matrix is diagonal, likewise.
      branching: take the cheapest branch that can render the batch. False always takes the general one, for runtimes
        without conditionals.
    """
    own_colour = ops.zeros_like(colour) + np.eye(3, 4, dtype=np.float32) if stretch else colour
    if method == "separable":
        image = sample_separably(canvas, extent, geometry, image_size=image_size, fill=fill, fill_value=fill_value)
        image = _recolour(image, own_colour)
    else:
        image = _sample(
            canvas,
            extent,
            geometry,
            own_colour,
            image_size=image_size,
            fill=fill,
            fill_value=fill_value,
            affine=affine,
            per_channel=per_channel or stretch,
            branching=branching,
        )
    if stretch:
        image = _recolour(_stretched(image), colour)
    image = ops.clip(image, 0.0, 255.0)
    if mix is not None:
        image = _mix(image, mix)
    if erase is not None:
        image = _erase(image, erase)
    return image


def _sample(
    canvas: Tensor,
    extent: Tensor,
    geometry: Tensor,
    colour: Tensor,
    *,
    image_size: tuple[int, int],
    fill: PaddingMode,
    fill_value: float,
    affine: bool,
    per_channel: bool,
    branching: bool,
) -> Tensor:
    """Returns the interpolated and recoloured photos before the clip, float32 [B, H, W, 3].

    If several branches apply, they give the same image up to rounding, so no photo depends on its batch. Each branch
    has its own gathers: XLA turns a conditional without one into a select, which computes every branch.
    """
    pixels = pixel_map(extent, geometry)
    step = sample_step(pixels, image_size=image_size)

    def sample(offset: Tensor, *, affine: bool) -> Tensor:
        return _interpolate(
            canvas, extent, pixels, offset, image_size=image_size, fill=fill, fill_value=fill_value, affine=affine
        )

    def once(*, affine: bool) -> Tensor:
        return sample(ops.zeros_like(extent), affine=affine)

    def four(*, affine: bool) -> Tensor:
        corner = [sample(step * np.array([x, y], np.float32), affine=affine) for y in (-1.0, 1.0) for x in (-1.0, 1.0)]
        return (corner[0] + corner[1]) + (corner[2] + corner[3])  # in this order flips stay exact

    if not branching:
        return _recolour(four(affine=False) * 0.25, colour)

    projective = ops.logical_not(is_affine(pixels))
    mixing_channels = ops.any(colour[:, :, :3] * np.float32(1.0 - np.eye(3)) != 0.0, axis=(1, 2))
    projects, mixes = (ops.cast(ops.any(found), "int32") for found in (projective, mixing_channels))
    if affine:
        colour, projects = _nan_where(projective, colour), 0
    if per_channel:
        colour, mixes = _nan_where(mixing_channels, colour), 0
    of_four = [lambda: _scale_channels(four(affine=True) * 0.25, colour)]
    if not (affine and per_channel):
        of_four.append(lambda: _recolour(_divide(four(affine=False), 4.0, extent), colour))
    of_one = []
    for straight in [True] if affine else [True, False]:
        of_one.append(lambda straight=straight: _scale_channels(once(affine=straight), colour))
        if not per_channel:
            of_one.append(lambda straight=straight: _recolour(_divide(once(affine=straight), 1.0, extent), colour))
    # One choice among all, because a GPU waits for the host at every choice, and nested ones would make up to three.
    chosen = ops.where(
        ops.any(step > 0.0),
        ops.minimum(projects + mixes, 1),
        len(of_four) + mixes + projects * (1 if per_channel else 2),
    )
    return ops.switch(chosen, [*of_four, *of_one])


def _nan_where(wrong: Tensor, colour: Tensor) -> Tensor:
    """Returns colour [B, 3, 4] with NaN for the photos where `wrong` [B]: they become NaN, which training refuses."""
    return colour + ops.where(wrong, np.float32(np.nan), np.float32(0.0))[:, None, None]


def _divide(image: Tensor, count: float, extent: Tensor) -> Tensor:
    """Returns image / count, for a count that XLA cannot know at compile time.

    XLA considers a division expensive, so it stores the result instead of recomputing it for each use. Without it the
    whole interpolation runs three times, once for every channel that `_recolour` reads.
    """
    hidden = ops.where(extent[:, :1] >= 0.0, np.float32(count), np.float32(0.0))
    return image / hidden[:, None, None]


def _interpolate(
    canvas: Tensor,
    extent: Tensor,
    pixels: Tensor,
    offset: Tensor,
    *,
    image_size: tuple[int, int],
    fill: PaddingMode,
    fill_value: float,
    affine: bool,
) -> Tensor:
    """Returns one bilinear sample per output pixel, float32 [B, H, W, 3], offset [B, 2] in (u, v) from its centre."""
    x, y = _positions(pixels, offset, image_size=image_size, affine=affine)
    last = ops.maximum(extent, 1.0) - 1.0
    last_x, last_y = last[:, 1][:, None, None], last[:, 0][:, None, None]
    if fill == "reflect":
        x, y = reflect(x, last_x), reflect(y, last_y)
    image = _gather(canvas, ops.clip(x, 0.0, last_x), ops.clip(y, 0.0, last_y), last_x, last_y)
    if fill == "constant":
        covered = coverage(x, last_x) * coverage(y, last_y)
        image = fill_value + (image - fill_value) * covered[..., None]
    return image


def _positions(pixels: Tensor, offset: Tensor, *, image_size: tuple[int, int], affine: bool) -> tuple[Tensor, Tensor]:
    """Returns the photo pixel (x, y) of every output pixel, float32 [B, H, W] each.

    Without a perspective's division XLA computes them on use instead of storing them.
    """
    height, width = image_size
    u = centres(width)[None, None, :] + offset[:, 0][:, None, None]
    v = centres(height)[None, :, None] + offset[:, 1][:, None, None]
    x, y, z = (
        pixels[:, row, 0][:, None, None] * u + pixels[:, row, 1][:, None, None] * v + pixels[:, row, 2][:, None, None]
        for row in range(3)
    )
    if affine:
        return x, y
    # Points beyond the horizon of a perspective are infinitely far outside the photo.
    z = ops.maximum(z, np.float32(1e-6))
    return x / z, y / z


def _gather(canvas: Tensor, x: Tensor, y: Tensor, last_x: Tensor, last_y: Tensor) -> Tensor:
    """Returns the canvas at (x, y) [B, H, W], all within the photo: float32 [B, H, W, 3]."""
    batch, rows, columns = ops.shape(canvas)[:3]
    table = ops.reshape(canvas, (-1, 3))
    # The upper left neighbour is never the last pixel, so the other three need no bounds checks. On a side of one pixel
    # they have no weight, and only where the canvas is no longer do they lie beyond it.
    right, below = _one_on(columns), _one_on(rows) * columns
    left = ops.maximum(ops.minimum(ops.floor(x), last_x - 1.0), 0.0)
    top = ops.maximum(ops.minimum(ops.floor(y), last_y - 1.0), 0.0)
    across, down = x - left, y - top
    first = ops.cast(top, "int32") * columns + ops.cast(left, "int32")
    first = first + (ops.arange(batch, dtype="int32") * (rows * columns))[:, None, None]
    lower_right = across * down
    neighbours = (
        (first, 1.0 - across - down + lower_right),
        (first + right, across - lower_right),
        (first + below, down - lower_right),
        (first + below + right, lower_right),
    )
    return sum(ops.cast(gather_rows(table, index), "float32") * weight[..., None] for index, weight in neighbours)


def _one_on(side: Any) -> Any:
    """Returns the step to the next pixel of a side: 1, or 0 if it has no more than one."""
    return min(side - 1, 1) if isinstance(side, int) else ops.minimum(side - 1, 1)


def _stretched(image: Tensor) -> Tensor:
    """Returns each image with its smallest value at 0 and its largest at 255; a uniform image becomes 0.

    An image within half a grey level counts as uniform: such a difference is rounding of the interpolation.

    Source: `array_to_img(scale=True)` of Keras 2.4, which `apply_brightness_shift` calls.
    """
    low = ops.min(image, axis=(1, 2, 3), keepdims=True)
    span = ops.max(image, axis=(1, 2, 3), keepdims=True) - low
    return (image - low) * (255.0 / ops.where(span > 0.5, span, np.inf))


def _recolour(image: Tensor, colour: Tensor) -> Tensor:
    """Returns the image with colour [B, 3, 4] applied to every pixel, by explicit sums over the channels."""
    matrix = colour[:, None, None]
    return sum((matrix[..., index] * image[..., index : index + 1] for index in range(3)), matrix[..., 3])


def _scale_channels(image: Tensor, colour: Tensor) -> Tensor:
    """Returns the image with a diagonal colour [B, 3, 4] applied to every pixel."""
    diagonal = ops.stack([colour[:, index, index] for index in range(3)], axis=-1)
    return image * diagonal[:, None, None] + colour[:, None, None, :, 3]


def _inside(box: Tensor, *, image_size: tuple[int, int]) -> Tensor:
    """Returns bool [B, H, W, 1], the mask of the pixels with their centre in box [B, 4], in fractions."""
    height, width = image_size
    y = ((np.arange(height) + 0.5) / height).astype(np.float32)[None, :, None, None]
    x = ((np.arange(width) + 0.5) / width).astype(np.float32)[None, None, :, None]
    y0, x0, y1, x1 = (box[:, index][:, None, None, None] for index in range(4))
    return ops.logical_and(ops.logical_and(y >= y0, y < y1), ops.logical_and(x >= x0, x < x1))


def _mix(image: Tensor, mix: Tensor) -> Tensor:
    """Returns each image mixed with the other one of its pair, 2k with 2k + 1; see `Render` for an odd batch."""
    batch, height, width, _ = image.shape
    if batch is None or batch % 2:
        return _mix_if_even(image, mix)
    pairs = ops.reshape(image, (-1, 2, height, width, 3))
    partner = ops.reshape(ops.flip(pairs, axis=1), (-1, height, width, 3))
    return _mix_with(partner, image, mix)


def _mix_if_even(image: Tensor, mix: Tensor) -> Tensor:
    """Returns what `_mix` does for a batch of any size: NaN where an odd one is to be mixed."""
    batch = ops.shape(image)[0]
    place = ops.arange(batch, dtype="int32")
    other = ops.minimum(place + 1 - 2 * (place % 2), batch - 1)
    pairless = ops.logical_and(ops.any(mix[:, 0] != 1.0), ops.cast(batch % 2, "bool"))
    return _mix_with(ops.take(image, other, axis=0), image, mix) + ops.where(pairless, np.nan, 0.0)


def _mix_with(partner: Tensor, image: Tensor, mix: Tensor) -> Tensor:
    """Returns the images mixed with their partners, all float32 [B, H, W, 3]."""
    _, height, width, _ = image.shape
    box = mix[:, 1:]
    empty = ops.logical_or(box[:, 0] >= box[:, 2], box[:, 1] >= box[:, 3])[:, None, None, None]
    share = mix[:, 0][:, None, None, None]
    pasted = ops.cast(_inside(box, image_size=(height, width)), "float32")
    weight = ops.where(empty, 1.0 - share, pasted)
    return image + (partner - image) * weight


def _erase(image: Tensor, erase: Tensor) -> Tensor:
    """Returns the images with the pixels of each box replaced by its colour."""
    _, height, width, _ = image.shape
    return ops.where(_inside(erase[:, :4], image_size=(height, width)), erase[:, None, None, 4:], image)


@keras.saving.register_keras_serializable(package="carclf")
class Render(keras.layers.Layer):
    """The layer that turns a batch into network input, for training, validation, prediction and TTA.

    Call it with a mapping that has `canvas`, `extent`, `geometry` and `colour`, plus `mix` if `mixing` and `erase` if
    `erasing`; see `render` for their shapes. Other keys are ignored. It has no weights, computes in float32 under any
    precision policy, and returns float32 [B, H, W, 3] in 0..255.

    Args:
      image_size: (H, W) of the output in pixels, or the side of a square.
      fill: padding mode: `edge`, `reflect` or `constant`.
      fill_value: value of `constant`, 0..255.
      mixing: apply `mix`. None applies it if the mapping has it, and then takes an odd batch if no photo in it is to be
        mixed; otherwise an odd batch becomes NaN, which training refuses.
      erasing: apply `erase`; None applies it if the mapping has it.
      stretch: map each image's values to 0..255 before colour.
      method: `gather`, or `separable` for axis-aligned geometries.
      affine, per_channel: what all geometries and colours of the photos are, see `render`; with fewer branches the
        layer compiles in half of the time.
      jit: compile with XLA, even inside code that is not compiled. Turn it off to export the model.
      branching: see `render`. Turn it off to export the model.

    Raises:
      UserError: an argument is out of range.
      ValueError: in a call, a key is missing, or `mixing` is on and the batch is odd.
    """

    def __init__(
        self,
        *,
        image_size: int | tuple[int, int],
        fill: PaddingMode = "edge",
        fill_value: float = 0.0,
        mixing: bool | None = None,
        erasing: bool | None = None,
        stretch: bool = False,
        method: RenderMethod = "gather",
        affine: bool = False,
        per_channel: bool = False,
        jit: bool = True,
        branching: bool = True,
        name: str | None = None,
    ) -> None:
        """See the class."""
        super().__init__(name=name, dtype="float32", autocast=False, trainable=False)
        self.image_size: tuple[int, int] = taken("image_size", image_size, kind=ANY_SIZE)
        self.fill: PaddingMode = taken("fill", fill)
        self.fill_value: float = taken("fill_value", fill_value)
        self.mixing = mixing
        self.erasing = erasing
        self.stretch = stretch
        self.method: RenderMethod = taken("method", method)
        self.affine = affine
        self.per_channel = per_channel
        self.jit = jit
        self.branching = branching
        self.built = True
        self._function = xla(self._render) if jit else compiled_on_jax(self._render)

    def call(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Returns the images, float32 [B, H, W, 3] in 0..255."""
        names = ["canvas", "extent", "geometry", "colour"]
        optional = {"mix": self.mixing, "erase": self.erasing}
        names += [name for name, applied in optional.items() if (name in inputs if applied is None else applied)]
        missing = [name for name in names if name not in inputs]
        if missing:
            raise ValueError(f"Render needs {', '.join(missing)}. Received: {', '.join(inputs)}")
        batch = inputs["canvas"].shape[0]
        if self.mixing and batch is not None and batch % 2:
            raise ValueError(f"Render mixes photos in pairs. Received: a batch of {batch}")
        return self._function(*(inputs.get(name) if name in names else None for name in (*names[:4], "mix", "erase")))

    def _render(
        self,
        canvas: Tensor,
        extent: Tensor,
        geometry: Tensor,
        colour: Tensor,
        mix: Tensor | None,
        erase: Tensor | None,
    ) -> Tensor:
        return render(
            canvas,
            extent,
            geometry,
            colour,
            mix,
            erase,
            image_size=self.image_size,
            fill=self.fill,
            fill_value=self.fill_value,
            stretch=self.stretch,
            method=self.method,
            affine=self.affine,
            per_channel=self.per_channel,
            branching=self.branching,
        )

    def compute_output_spec(self, inputs: Mapping[str, Tensor]) -> keras.KerasTensor:
        """Returns the symbolic output without tracing the kernel."""
        return keras.KerasTensor((inputs["canvas"].shape[0], *self.image_size, 3), dtype="float32")

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that recreate this layer."""
        return {
            "name": self.name,
            "image_size": self.image_size,
            "fill": self.fill,
            "fill_value": self.fill_value,
            "mixing": self.mixing,
            "erasing": self.erasing,
            "stretch": self.stretch,
            "method": self.method,
            "affine": self.affine,
            "per_channel": self.per_channel,
            "jit": self.jit,
            "branching": self.branching,
        }
