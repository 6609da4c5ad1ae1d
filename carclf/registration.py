"""Lets `keras.models.load_model` find carclf's layers, schedules, losses and optimizers once carclf is imported.

Keras looks for a class among those registered with it, and imports no modules but its own to find others. `import
carclf` imports no framework, so it can register the classes at once only if Keras is already imported. Otherwise they
are imported right after Keras is.
"""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.abc import Loader

CLASSES = "carclf.model.saved_classes"  # by name, because only the import of Keras may import it


class _KerasFinder:
    """Finds Keras as the other finders do, so that registration follows its import."""

    def __init__(self) -> None:
        self._asking = False

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "keras" or self._asking:
            return None
        self._asking = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._asking = False
        if spec is not None and spec.loader is not None:
            _follow(spec.loader)
        return spec


def register_with_keras() -> None:
    """Registers the classes now if Keras is already imported, otherwise as soon as it is."""
    if "keras" in sys.modules:
        _register()
    elif not any(isinstance(finder, _KerasFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _KerasFinder())


def _follow(loader: "Loader") -> None:
    """Makes the loader call `_register` after it has run the module."""
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        _register()

    loader.exec_module = exec_module  # type: ignore[method-assign]


def _register() -> None:
    try:
        importlib.import_module(CLASSES)
    except (ImportError, AttributeError):  # a Keras too old for carclf matters only to those who use its classes
        return
