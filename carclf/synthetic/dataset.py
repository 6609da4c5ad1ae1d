"""The competition's layout on disk: folders, or the zip of zips; complete under its final name, or missing."""

import contextlib
import functools
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from carclf.errors import UserError
from carclf.synthetic.drawing import draw_photos
from carclf.synthetic.kinds import CAR_KINDS
from carclf.synthetic.palette import generator

DESCRIPTION_FILE = "sample.json"
SOLUTION_FILE = "solution.csv"
ZIP_FILE = "competition.zip"
FORMAT = 1  # incremented when the same options draw different photos
IDS = (10_000, 1_000_000)  # range of the competition's Ids
# Zip files store a time; a fixed one makes the bytes reproducible.
ZIP_TIME = (2020, 1, 1, 0, 0, 0)

Photos = Sequence[tuple[str, int]]


def plan_photos(*, photos: int, seed: int) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Returns (Id, kind) of the training photos, sorted as in the competition, and of photos // 4 test photos.

    The counts of the kinds differ by at most one; Ids are unique, random, and independent of the kind.
    """
    tests = photos // 4
    rng = generator(seed, "plan")
    numbers = rng.choice(IDS[1] - IDS[0], photos + tests, replace=False) + IDS[0]
    ids = [f"{number}.jpg" for number in numbers.tolist()]
    kinds = [rng.permutation([i % len(CAR_KINDS) for i in range(count)]).tolist() for count in (photos, tests)]
    train = sorted(zip(ids[:photos], kinds[0], strict=True), key=lambda photo: (photo[1], photo[0]))
    return train, list(zip(ids[photos:], kinds[1], strict=True))


def write_competition(
    output: Path,
    *,
    train: Photos,
    test: Photos,
    seed: int,
    size: tuple[int, int],
    zipped: bool = False,
    workers: int = 1,
    description: Mapping[str, Any] | None = None,
    on_photo: Callable[[], object] = lambda: None,
) -> None:
    """Draws a photo for every (Id, kind) and writes the folder `output`, which must be empty or missing.

    The folder gets its name when it is complete: an interrupted call leaves only `<output>.partial-<process>`.

    Args:
      output: the folder to create.
      train: Ids and kinds of the training photos, in the order of train.csv.
      test: Ids and kinds of the test photos, in the order of sample-submission.csv and solution.csv.
      seed: of the scenes.
      size: (width, height) of the photos in pixels.
      zipped: write one zip with the CSV files, train.zip and test.zip instead of folders.
      workers: number of drawing processes; the bytes do not depend on it.
      description: written as sample.json.
      on_photo: called after each photo.

    Raises:
      UserError: a drawing process was killed.
    """
    partial = output.with_name(f"{output.name}.partial-{os.getpid()}")
    if partial.exists():  # left by an ended process with the same number
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    draw = functools.partial(draw_photos, seed=seed, size=size, workers=workers)
    try:
        with _ZipWriter(partial) if zipped else _FolderWriter(partial) as writer:
            with contextlib.closing(draw(train)) as drawn:
                writer.add_photos("train", _placed(drawn, train, lambda kind: f"train/{kind}", on_photo))
            with contextlib.closing(draw(test)) as drawn:
                writer.add_photos("test", _placed(drawn, test, lambda kind: "test_upload", on_photo))
            writer.add_text("train.csv", _csv(train))
            writer.add_text("sample-submission.csv", _csv((photo_id, 0) for photo_id, _ in test))
        (partial / SOLUTION_FILE).write_bytes(_csv(test).encode())
        if description is not None:
            (partial / DESCRIPTION_FILE).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        if output.is_dir():
            output.rmdir()
        partial.rename(output)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def check_output(output: Path, *, description: Mapping[str, Any]) -> bool:
    """Returns whether `output` already has the complete sample of that description.

    Raises:
      UserError: it has other content.
    """
    if output.is_file():
        raise UserError(f"--output={output} is a file: give the folder to create.")
    if not output.is_dir() or not any(output.iterdir()):
        return False
    try:
        found = json.loads((output / DESCRIPTION_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"--output={output} is not empty and has no sample: give a new or empty folder.") from None
    if found != description:
        raise UserError(f"--output={output} has a sample drawn with other options: give a new folder, or delete it.")
    if missing := [name for name in _expected(description) if not (output / name).exists()]:
        raise UserError(f"--output={output} is missing {missing[0]}: delete the folder and draw it again.")
    photos, kept = int(description["photos"]), sum(1 for _ in output.glob("t*/**/*.jpg"))
    if not description["zip"] and kept != photos + photos // 4:
        raise UserError(
            f"--output={output} has only {kept} of its {photos + photos // 4} photos: delete the folder and draw it "
            "again."
        )
    return True


def _expected(description: Mapping[str, Any]) -> tuple[str, ...]:
    return (SOLUTION_FILE, ZIP_FILE) if description["zip"] else (SOLUTION_FILE, "train.csv", "sample-submission.csv")


def _csv(rows: Iterable[tuple[str, int]]) -> str:
    return "".join(["Id,Category\n", *(f"{photo_id},{category}\n" for photo_id, category in rows)])


def _placed(
    drawn: Iterable[tuple[str, bytes]], photos: Photos, folder_of: Callable[[int], str], on_photo: Callable[[], object]
) -> Iterator[tuple[str, bytes]]:
    for (photo_id, data), (_, kind) in zip(drawn, photos, strict=True):
        yield f"{folder_of(kind)}/{photo_id}", data
        on_photo()


class _FolderWriter(contextlib.AbstractContextManager["_FolderWriter"]):
    """Writes the unpacked competition."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add_photos(self, name: str, photos: Iterable[tuple[str, bytes]]) -> None:
        for path, data in photos:
            file = self._folder / path
            if not file.parent.is_dir():
                file.parent.mkdir(parents=True)
            file.write_bytes(data)

    def add_text(self, name: str, text: str) -> None:
        (self._folder / name).write_bytes(text.encode())

    def __exit__(self, *error: object) -> None:
        pass


class _ZipWriter(contextlib.AbstractContextManager["_ZipWriter"]):
    """Writes the competition's zip of zips."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._zip = zipfile.ZipFile(folder / ZIP_FILE, "w")

    def add_photos(self, name: str, photos: Iterable[tuple[str, bytes]]) -> None:
        inner = self._folder / f"{name}.zip"
        with zipfile.ZipFile(inner, "w") as archive:
            for path, data in photos:
                archive.writestr(_zip_entry(path), data)
        entry = _zip_entry(inner.name)
        entry.file_size = inner.stat().st_size  # set in advance, so that zipfile knows whether it needs ZIP64
        with inner.open("rb") as source, self._zip.open(entry, "w") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        inner.unlink()

    def add_text(self, name: str, text: str) -> None:
        self._zip.writestr(_zip_entry(name), text.encode())

    def __exit__(self, *error: object) -> None:
        self._zip.close()


def _zip_entry(path: str) -> zipfile.ZipInfo:
    """Returns an entry that is stored, not deflated: JPEG does not shrink, and the bytes then depend on no zlib."""
    entry = zipfile.ZipInfo(path, ZIP_TIME)
    entry.external_attr = 0o644 << 16
    entry.create_system = 3
    return entry
