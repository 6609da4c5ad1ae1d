"""Every kind of file that the tests make: converted, and compared with the picture that it holds.

With --photos, bytes are also inserted in the middle of real JPEGs, and what is said of them is counted.
Example: python benchmarks/corpus.py --json=corpus.json"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from measuring import scratch_folder

from carclf.command import run_command
from carclf.flags import Options, option

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

from tests.data.files_of_kinds import KINDS, REFUSED  # noqa: E402

CLASSES = 2
INSERTED = (1, 10, 100, 1000)  # bytes


@dataclasses.dataclass(frozen=True)
class CorpusOptions(Options):
    """Every option of this benchmark."""

    photos: str = option("", "Folder of real photos in which bytes are inserted; none leaves that out.", path=True)
    count: int = option(60, "Number of these photos, evenly from the folder.", low=1)
    json: str = option("", "Also write the table to this file.")


def main(options: CorpusOptions) -> None:
    """Converts the corpus and prints the table; ends with exit code 1 where a kind is not what it should be."""
    with scratch_folder() as folder:
        rows = validate_corpus(folder)
    print(table(rows))
    if options.photos:
        print(insertions(options))
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    if wrong := [row["kind"] for row in rows if not row["as_expected"]]:
        print(f"{len(wrong)} kinds are not what they should be: {', '.join(wrong)}", file=sys.stderr)
        sys.exit(1)


def validate_corpus(folder: Path) -> list[dict[str, Any]]:
    """Returns one row per kind: way of storage, the converter's words, the stored pixels against the reference."""
    from carclf.convert.converter import convert
    from carclf.convert.options import ConvertOptions
    from carclf.data.photos import read_photos

    names = {f"{number:03d}.jpg": kind for number, kind in enumerate(KINDS)}
    for number, (name, kind) in enumerate(names.items()):
        path = folder / "photos" / str(number % CLASSES) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(KINDS[kind].raw)
    how = {"folds": 2, "workers": 1, "on_bad": "skip", "near_duplicates": False}
    manifest = convert(ConvertOptions(input=str(folder / "photos"), output=str(folder / "data"), **how))  # type: ignore[arg-type]
    assert manifest is not None
    ids = manifest.read_ids("train")["id"].tolist()
    photos = read_photos(manifest, split="train", rows=range(len(ids)))
    stored = {ids[row]: encoded for row, encoded in photos.items()}
    said = {list_name: _said(folder / "data" / f"{list_name}.csv") for list_name in ("rejected", "remarks")}
    return [
        _row(kind, stored.get(name), said["rejected"].get(name, said["remarks"].get(name, "")))
        for name, kind in names.items()
    ]


def insertions(options: CorpusOptions) -> str:
    """Returns, for each number of inserted bytes, how many photos are kept, kept with a remark, and refused."""
    from carclf.data.image_formats import UnusableError
    from carclf.data.validation import validate_photo

    paths = sorted(path for path in Path(options.photos).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    raws = [paths[number * len(paths) // options.count].read_bytes() for number in range(options.count)]
    lines = []
    for size in INSERTED:
        rng, counts = np.random.default_rng(size), {"kept": 0, "with a remark": 0, REFUSED: 0}
        for raw in raws:
            middle = len(raw) // 2
            try:
                stored = validate_photo(raw[:middle] + rng.bytes(size) + raw[middle:], max_side=10_000)
                counts["with a remark" if stored.remark else "kept"] += 1
            except UnusableError:
                counts[REFUSED] += 1
        lines.append(f"{size:>5} bytes in {len(raws)} photos: {counts}")
    return "\n".join(lines)


def _said(path: Path) -> dict[str, str]:
    """Id → the reason or remark in a list of the data set."""
    import csv

    with path.open(newline="", encoding="utf-8") as file:
        return {row["id"]: row.get("reason") or row.get("remark") or "" for row in csv.DictReader(file)}


def _row(name: str, encoded: bytes | None, said: str) -> dict[str, Any]:
    from carclf.data.decoder import decode
    from carclf.data.validation import validate_photo

    kind = KINDS[name]
    expected_words = kind.says in said if kind.says else not said
    if encoded is None:
        as_expected = kind.how == REFUSED and expected_words
        return {"kind": name, "check": REFUSED, "max": None, "mean": None, "says": said, "as_expected": as_expected}
    pixels, check = decode(encoded), validate_photo(kind.raw, max_side=640)
    if pixels.shape != kind.pixels.shape:
        return {"kind": name, "check": check.how, "max": None, "mean": None, "says": said, "as_expected": False}
    off = np.abs(pixels.astype(int) - kind.pixels)
    as_expected = check.how == kind.how and expected_words and float(off.mean()) < kind.tolerance
    figures = {"max": int(off.max()), "mean": round(float(off.mean()), 2)}
    return {"kind": name, "check": check.how, **figures, "says": said, "as_expected": as_expected}


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as people read them."""
    lines = [f"{'kind':<40}{'check':<11}{'max':>5}{'mean':>7}  what the converter says"]
    for row in rows:
        figures = f"{'':>12}" if row["max"] is None else f"{row['max']:>5}{row['mean']:>7.2f}"
        lines.append(f"{row['kind']:<40}{row['check']:<11}{figures}  {row['says']}")
    expected = sum(row["as_expected"] for row in rows)
    lines.append(f"{len(rows)} kinds, {expected} as they should be; differences from the reference in 0..255.")
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main, CorpusOptions, description=__doc__ or "")
