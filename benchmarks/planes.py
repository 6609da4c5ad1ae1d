"""What decoding to planes (luma, and chroma at half the size) would win over RGB: processor time of one thread.

Both ways decode the same JPEG files of 4:2:0 into memory that they reuse, with the same DCT, at the size that each
image size needs. Planes leave out the upsampling of chroma and the conversion to RGB: half of the bytes, and work that
a device does for nothing. Needs the system's libturbojpeg (Debian: apt-get install libturbojpeg0).
Example: python benchmarks/planes.py --photos=data/cars"""

import ctypes
import ctypes.util
import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from input import PHOTO_PX, SIZES, mean_bytes, prepare_photos
from measuring import scratch_folder

from carclf.command import run_command
from carclf.data.decoder import decode, decode_sizes
from carclf.errors import UserError
from carclf.flags import Options, option
from carclf.framing import Framing

FAST_DCT = 2048  # TJFLAG_FASTDCT. Source: turbojpeg.h
PLANE = ctypes.POINTER(ctypes.c_ubyte)
Decode = Callable[[bytes], object]


@dataclasses.dataclass(frozen=True)
class PlanesOptions(Options):
    """Every option of this benchmark."""

    photos: str = option("", "Folder of class folders of JPEG photos; they are resized to 640x480 first.", path=True)
    most: int = option(175, "Maximum number of photos.", low=1)
    repeats: int = option(9, "Number of measurements of each way, alternating.", low=1)

    def __post_init__(self) -> None:
        """Checks each option, and the rules among them."""
        super().__post_init__()
        if not self.photos:
            raise UserError("--photos is missing: give a folder of JPEG photos.")


def main(options: PlanesOptions) -> None:
    """Measures and prints."""
    library = open_library()
    with scratch_folder() as scratch:
        photos = prepare_photos(Path(options.photos), scratch / "photos", most=options.most)
        encoded = [path.read_bytes() for path in photos]
        print(f"{len(photos)} photos of 640x480 pixels, {mean_bytes(photos):,} bytes each; milliseconds of a core")
    for size in SIZES:
        (ratio,) = decode_sizes(np.array([PHOTO_PX[::-1]]), framing=Framing((size, size))).ratios.tolist()
        ways = {"RGB": rgb_decoder(ratio), "planes": planes_decoder(library, ratio)}
        rgb, planes = measure(ways, encoded, repeats=options.repeats)
        print(f"{size} px, decoded at 1/{ratio}: RGB {rgb:.3f}, planes {planes:.3f}: {rgb / planes:.2f} times as fast")


def open_library() -> ctypes.CDLL:
    """Returns the system's libturbojpeg.

    Raises:
      UserError: there is none.
    """
    name = ctypes.util.find_library("turbojpeg")
    if name is None:
        raise UserError("This benchmark needs libturbojpeg: install it, such as with apt-get install libturbojpeg0.")
    library = ctypes.CDLL(name)
    library.tjInitDecompress.restype = ctypes.c_void_p
    library.tjDecompressToYUVPlanes.argtypes = [
        *(ctypes.c_void_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_void_p),
        *(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_int),
    ]
    return library


def rgb_decoder(ratio: int) -> Decode:
    """Returns carclf's decoder of a 640x480 photo at 1/ratio of its size."""
    width, height = PHOTO_PX
    out = np.empty((height // ratio, width // ratio, 3), np.uint8)
    return lambda encoded: decode(encoded, ratio=ratio, out=out, size=(height, width))


def planes_decoder(library: ctypes.CDLL, ratio: int) -> Decode:
    """Returns a decoder of the same photo to its planes."""
    width, height = PHOTO_PX[0] // ratio, PHOTO_PX[1] // ratio
    sizes = [(height, width), (height // 2, width // 2), (height // 2, width // 2)]
    planes = [ctypes.cast((ctypes.c_ubyte * math.prod(size))(), PLANE) for size in sizes]
    memory = (PLANE * 3)(*planes)
    strides = (ctypes.c_int * 3)(*(columns for _, columns in sizes))
    handle = library.tjInitDecompress()

    def decode_planes(encoded: bytes) -> None:
        if library.tjDecompressToYUVPlanes(handle, encoded, len(encoded), memory, width, strides, height, FAST_DCT):
            raise UserError("libturbojpeg cannot decode a photo: give other photos.")

    return decode_planes


def measure(ways: dict[str, Decode], encoded: Sequence[bytes], *, repeats: int) -> list[float]:
    """Returns for each way the median milliseconds of a core per photo."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            started = time.process_time()
            for photo in encoded:
                way(photo)
            times[name].append((time.process_time() - started) / len(encoded) * 1000)
    return [statistics.median(values) for values in times.values()]


if __name__ == "__main__":
    run_command(main, PlanesOptions, description=__doc__ or "")
