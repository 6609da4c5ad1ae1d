"""Keeps TensorFlow and Keras from importing, when they start, packages that carclf never has them use."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

# Each is imported where it is installed, for parts that no command uses: TensorFlow Lite reads networks of JAX, Keras
# wraps itself for scikit-learn, draws galleries and takes tables. Together they take as long as TensorFlow itself.
OPTIONAL = ("jax", "torch", "sklearn", "matplotlib", "pandas", "IPython", "cv2")


class _Hidden:
    """A finder that says of some packages that they are not installed."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name in self._names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


@contextlib.contextmanager
def without_optional_packages(*, needed: Sequence[str] = ()) -> Iterator[None]:
    """Lets no module import `OPTIONAL` packages inside this context, as if they were not installed.

    What is imported already stays, and everything can be imported afterwards.

    Args:
      needed: those of them that are imported all the same.
    """
    finder = _Hidden([name for name in OPTIONAL if name not in needed])
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
