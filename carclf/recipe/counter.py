"""Uniform random numbers that are a pure function of (seed, epoch, row, operation)."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

UNIFORMS_PER_BLOCK = 4

_ROUNDS = 10
_MASK = np.uint64(0xFFFF_FFFF)
_SHIFT = np.uint64(32)
# Multipliers of the two halves and Weyl increments of the key. Source: Salmon et al. 2011, table 2, and
# Random123's philox.h (PHILOX_M4x32_0/1, PHILOX_W32_0/1).
_MULTIPLIERS = np.array([[0xD251_1F53], [0xCD9E_8D57]], np.uint64)
_WEYL_STEPS = np.outer(np.array([0x9E37_79B9, 0xBB67_AE85], np.uint64), np.arange(_ROUNDS, dtype=np.uint64))


def philox(counter: npt.NDArray[np.uint64], key: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Returns Philox4x32-10 of every column of `counter`: uint64 [4, N] holding 32-bit words.

    Every column is enciphered on its own: a word depends only on its counter and the key, not on N or the other
    columns. One call for a whole batch costs as much as one `numpy.random.Philox`.

    Args:
      counter: uint64 [4, N], 32-bit words.
      key: uint64 [2], 32-bit words.

    Source: Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011, section 3.3.
    """
    even, odd = counter[0::2], counter[1::2]
    round_keys = (key[:, None] + _WEYL_STEPS) & _MASK
    for index in range(_ROUNDS):
        product = _MULTIPLIERS * even
        even = (product >> _SHIFT)[::-1] ^ odd
        even ^= round_keys[:, index : index + 1]
        odd = (product & _MASK)[::-1]
    words = np.empty_like(counter)
    words[0::2], words[1::2] = even, odd
    return words


def stream_of(name: str) -> int:
    """Returns the 32-bit stream number of an operation's name (CRC-32, stable across versions and machines)."""
    return zlib.crc32(name.encode())


def uniforms(
    *, seed: int, epoch: int, row: npt.NDArray[np.int64], blocks: Sequence[tuple[int, int]]
) -> npt.NDArray[np.float64]:
    """Returns float64 [blocks, 4, B] in the open interval (0, 1), multiples of 2^-33.

    Args:
      seed: any integer; its lowest 64 bits are the key.
      epoch: 0 to 2^32 - 1.
      row: integer [blocks, B], the row that each block of each photo is drawn for.
      blocks: (stream, block number) of each block; a block holds four uniforms.
    """
    count, batch = row.shape
    key = np.array([seed & 0xFFFF_FFFF, (seed >> 32) & 0xFFFF_FFFF], np.uint64)
    counter = np.empty((4, count, batch), np.uint64)
    lanes = np.array(blocks, np.uint64).reshape(count, 2, 1)
    counter[0], counter[1] = lanes[:, 1], lanes[:, 0]
    counter[2] = row.astype(np.uint64) & _MASK
    counter[3] = epoch
    words = philox(counter.reshape(4, -1), key).reshape(4, count, batch)
    return (words.astype(np.float64) + 0.5).transpose(1, 0, 2) * 2.0**-32
