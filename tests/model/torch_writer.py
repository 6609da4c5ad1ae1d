"""Writes torch's old file format without torch, for the tests that read it."""

import pickle
import struct
import sys
import types
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001


class _Tensor:
    def __init__(self, key: str, array: np.ndarray, strides: tuple[int, ...] | None) -> None:
        self.key, self.array = key, array
        self.strides = strides or tuple(stride // array.itemsize for stride in array.strides)


def write_torch_file(
    path: Path, arrays: Mapping[str, np.ndarray], *, strides: Mapping[str, tuple[int, ...]] | None = None
) -> None:
    """Writes float32 arrays, each in a storage of its own; `strides` replaces those of some."""
    utils, torch = types.ModuleType("torch._utils"), types.ModuleType("torch")

    def _rebuild_tensor_v2():
        """Only its name is written."""

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch"})

    class Pickler(pickle.Pickler):
        def persistent_id(self, thing):
            if isinstance(thing, tuple) and thing and thing[0] is torch.FloatStorage:
                return ("storage", torch.FloatStorage, thing[1], "cpu", thing[2], None)
            return None

        def reducer_override(self, thing):
            if not isinstance(thing, _Tensor):
                return NotImplemented
            storage = (torch.FloatStorage, thing.key, thing.array.size)
            return _rebuild_tensor_v2, (storage, 0, thing.array.shape, thing.strides, False, OrderedDict())

    own = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
    sys.modules |= {"torch": torch, "torch._utils": utils}
    try:
        tensors = {
            name: _Tensor(str(number), array, (strides or {}).get(name))
            for number, (name, array) in enumerate(arrays.items())
        }
        with open(path, "wb") as file:
            for header in (MAGIC, VERSION, {"little_endian": True}):
                pickle.dump(header, file, protocol=2)
            Pickler(file, protocol=2).dump(OrderedDict(tensors))
            pickle.dump([tensor.key for tensor in tensors.values()], file, protocol=2)
            for array in arrays.values():
                file.write(struct.pack("<q", array.size) + np.ascontiguousarray(array, "<f4").tobytes())
    finally:
        for name, module in own.items():
            sys.modules.pop(name)
            if module:
                sys.modules[name] = module
