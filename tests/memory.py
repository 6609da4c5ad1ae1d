"""The memory that Python and NumPy allocate, for tests of what must not grow."""

import contextlib
import dataclasses
import tracemalloc
from collections.abc import Iterator


@dataclasses.dataclass
class Peak:
    """The most bytes that were allocated at a time, once the block has ended."""

    bytes: int = 0


@contextlib.contextmanager
def peak_memory() -> Iterator[Peak]:
    """Yields what the block's allocations come to at their highest, on top of what was there before it."""
    peak = Peak()
    tracemalloc.start()
    try:
        yield peak
    finally:
        peak.bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
