"""Reads the tensors of a file in torch's old format with NumPy alone; no code of the file is ever run.

The format: a magic number, a version and a description as three pickles, a pickle of tensors that name their storages,
a pickle of the storages' keys, then each storage as a count and its values.
Source: torch/serialization.py, `_legacy_save` (the format before torch 1.6).
"""

import collections
import dataclasses
import math
import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from carclf.errors import UserError

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
STORAGES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8"}
DAMAGE = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, RecursionError, TypeError,
    ValueError, struct.error, pickle.UnpicklingError,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Storage:
    key: str
    dtype: str
    count: int


@dataclasses.dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class ForeignPickleError(Exception):
    """A pickle that asks for something else than tensors; the message names it."""


class _TensorUnpickler(pickle.Unpickler):
    """Admits what a file of tensors needs, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _Tensor(storage, offset, shape, strides)
        if module == "torch" and name in STORAGES:
            return name
        raise ForeignPickleError(f"{module}.{name}")

    def persistent_load(self, identifier: Any) -> _Storage:
        kind, storage, key, _, count, view = identifier
        if kind != "storage" or view is not None:
            raise ForeignPickleError(f"a {kind}")
        return _Storage(str(key), STORAGES[storage], int(count))


def read_torch_file(path: Path) -> dict[str, np.ndarray]:
    """Returns every tensor of the file by name, float or int of any shape.

    Raises:
      UserError: the file is missing, cut short, damaged, in another format, or asks for anything but tensors.
    """
    try:
        with open(path, "rb") as file:
            return _read(file, size=path.stat().st_size)
    except FileNotFoundError:
        raise UserError(f"There is no weights file {path}: give the path of an existing file.") from None
    except ForeignPickleError as error:
        raise UserError(
            f"The weights file {path} is refused, since it asks for {error} and not for tensors alone: nothing of it "
            "was run; give the file of the package."
        ) from None
    except DAMAGE as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"The weights file {path} is cut short, damaged or not in torch's old format ({reason}): fetch it again."
        ) from None


def _read(file: BinaryIO, *, size: int) -> dict[str, np.ndarray]:
    if (_TensorUnpickler(file).load(), _TensorUnpickler(file).load()) != (MAGIC, VERSION):
        raise ValueError("it does not begin as such a file")
    _TensorUnpickler(file).load()  # what kind of machine wrote it
    tensors = _TensorUnpickler(file).load()
    if not isinstance(tensors, collections.OrderedDict) or not all(isinstance(t, _Tensor) for t in tensors.values()):
        raise ForeignPickleError("something that is not a table of tensors")
    known = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    storages = {str(key): _values(file, known[str(key)], size=size) for key in _TensorUnpickler(file).load()}
    return {str(name): _placed(tensor, storages) for name, tensor in tensors.items()}


def _values(file: BinaryIO, storage: _Storage, *, size: int) -> np.ndarray:
    (count,) = struct.unpack("<q", file.read(8))
    dtype = np.dtype(storage.dtype)
    if count != storage.count or not 0 <= count * dtype.itemsize <= size - file.tell():
        raise ValueError(f"storage {storage.key} is not complete")
    return np.frombuffer(file.read(count * dtype.itemsize), dtype)


def _placed(tensor: _Tensor, storages: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns the tensor's values, after checking that each of them lies in its storage."""
    values, shape, strides = storages[tensor.storage.key], tuple(tensor.shape), tuple(tensor.strides)
    reach = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    steps = (tensor.offset, *strides, *(size - 1 for size in shape))
    if min(steps) < 0 or tensor.offset + reach >= len(values) or math.prod(shape) > len(values):
        raise ValueError("a tensor lies outside its storage")
    view = np.lib.stride_tricks.as_strided(
        values[tensor.offset :], shape, [stride * values.itemsize for stride in strides], writeable=False
    )
    return np.array(view, order="C")
