"""Pillow's limit on pixels and its warnings are the whole process's: they are set aside while any thread decodes."""

import contextlib
import threading
import warnings
from collections.abc import Iterator

from PIL import Image


class _Aside:
    """Sets the settings aside for the first of several threads, and restores them after the last."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._users = 0
        self._settings = contextlib.ExitStack()

    def take(self) -> None:
        with self._changing:
            if not self._users:
                self._settings.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
                self._settings.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
                Image.MAX_IMAGE_PIXELS = None
            self._users += 1

    def give_back(self) -> None:
        with self._changing:
            self._users -= 1
            if not self._users:
                self._settings.close()


_ASIDE = _Aside()


@contextlib.contextmanager
def set_aside() -> Iterator[None]:
    """Lifts Pillow's limit and silences warnings inside this context, however many threads do so at once.

    The limit is replaced by `carclf.data.validation.MAX_PIXELS`, whose reason names the size. The warnings are about
    odd metadata, which is not stored.
    """
    _ASIDE.take()
    try:
        yield
    finally:
        _ASIDE.give_back()
