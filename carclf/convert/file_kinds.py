"""What a file is according to its name: an archive, a file of records, or one that is not read, and what to do then."""

import re
from pathlib import PurePosixPath

PHOTO_SUFFIXES = frozenset((".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"))
PHOTO_SUFFIXES |= {".avif", ".heic", ".heif", ".hif", ".jxl", ".jp2", ".ppm", ".pgm", ".pbm", ".pnm", ""}
# Of what a photo was made from, such as a spectrogram: a list may name that file instead.
SOURCE_SUFFIXES = frozenset((".wav", ".mp3", ".ogg", ".flac", ".m4a", ".mp4", ".avi", ".mov", ".dcm", ".npy", ".npz"))
SOURCE_SUFFIXES |= {".mat", ".nii", ".svs", ".raw"}
TEXTS = frozenset(
    ["readme", "license", "licence", "copying", "notice", "authors", "changelog", "version", "makefile", "dockerfile"]
)
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
RECORDS = re.compile(r"\.tfrec(ord)?s?(?P<shard>-\d+-of-\d+)?(\.gz)?$", re.IGNORECASE)  # as TFDS numbers shards, too
PARQUET = ".parquet"
_UNPACK = "unpack it and give the folder"
UNREAD = {  # ending → what to do with such a file
    ".7z": f"{_UNPACK}, such as with 7z x",
    ".rar": f"{_UNPACK}, such as with unrar x",
    ".zip.001": "join its parts with cat, and give the zip",
    ".z01": "join its parts with zip -s 0, and give the zip",
    ".dcm": "write each image as a PNG, such as with pydicom and Pillow",
    ".mat": "write its images as PNG files, or its labels as a CSV, such as with scipy.io.loadmat",
    ".h5": "write each of its images as a PNG, such as with h5py and Pillow",
    ".hdf5": "write each of its images as a PNG, such as with h5py and Pillow",
    ".npy": "write each of its images as a PNG, such as with NumPy and Pillow",
    ".npz": "write each of its images as a PNG, such as with NumPy and Pillow",
    ".pkl": "write its images as PNG files",
    ".bson": "write its images as JPEG files",
}


def is_csv(name: str) -> bool:
    """Returns whether a file's name is that of a CSV."""
    return name.lower().endswith((".csv", ".tsv"))


def is_json(name: str) -> bool:
    """Returns whether a file's name is that of JSON, or of JSON Lines."""
    return name.lower().endswith((".json", ".jsonl", ".ndjson"))


def is_archive(name: str) -> bool:
    """Returns whether a file's name is that of an archive that is read."""
    return name.lower().endswith(ARCHIVES)


def stem_of_archive(path: str) -> str:
    """Returns the path of an archive without its ending; any other path as it is."""
    return next((path[: -len(ending)] for ending in ARCHIVES if path.lower().endswith(ending)), path)


def is_record_file(name: str) -> bool:
    """Returns whether a file's name is that of a TFRecord file, packed or not."""
    return bool(RECORDS.search(name))


def is_parquet(name: str) -> bool:
    """Returns whether a file's name is that of a Parquet file."""
    return name.lower().endswith(PARQUET)


def stem_of_records(name: str) -> str:
    """Returns the name of a TFRecord or Parquet file without its ending, but with its shard."""
    found = RECORDS.search(name)
    return name[: found.start()] + (found["shard"] or "") if found else name[: -len(PARQUET)]


def extension_of(path: str) -> str:
    """Returns the extension of a file with its dot, or ""; x.v2-0, the Id of record 0 in x.v2.tfrec, has none."""
    suffix = PurePosixPath(path).suffix
    return "" if "-" in suffix else suffix


def holds_files(name: str) -> bool:
    """Returns whether a file's name is that of a file that holds photos, so that it may be large."""
    return is_archive(name) or is_record_file(name) or is_parquet(name)


def what_to_do(name: str) -> str:
    """Returns what to do with a file that is not read, or ""."""
    return next((advice for ending, advice in UNREAD.items() if name.lower().endswith(ending)), "")


def is_photo_name(path: str) -> bool:
    """Returns whether a file's name is that of a photo."""
    name = PurePosixPath(path)
    known = name.suffix.lower() in PHOTO_SUFFIXES and name.name.lower() not in TEXTS
    return known and not name.name.startswith(".")
