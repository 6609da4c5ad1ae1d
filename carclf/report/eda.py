"""The page of a data set: its content, and the findings to check before the first training."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from PIL import Image

from carclf.data.lists import SCENE
from carclf.data.manifest import Manifest
from carclf.data.survey import Survey, survey_photos
from carclf.errors import UserError
from carclf.report.charts import histogram_svg
from carclf.report.findings import find
from carclf.report.photo_table import (
    DIFFERENT_LABELS,
    LEAK,
    Group,
    duplicate_groups,
    fold_counts,
    photo_table,
    rejected_table,
    remarked_photos,
    with_measurements,
)
from carclf.report.template import write_html
from carclf.report.thumbnails import THUMBNAIL_PX, read_thumbnails, to_jpeg

# The page stays below a few MB for any data set: it shows this many photos and lists the rest.
SAMPLE_PHOTOS, SAMPLES_PER_CLASS = 400, 7
GROUPS_PICTURED, MEMBERS_PICTURED = 24, 6  # of each kind of duplicates
GROUPS_LISTED, MEMBERS_LISTED = 500, 30
GROUPS_COMPARED = 500  # to show the most similar of them
COMPARED_SIZE = (32, 24)  # width and height in pixels
REJECTED_LISTED = 1000
ODD_PHOTOS = 6  # at the end of each scale
REMARKED_PHOTOS = 48
LISTED_PHOTOS = 50_000
SIZES_LISTED = 8
FOLD_CLASSES = 60  # with more classes, only the folds' totals are shown

Issue = tuple[str, int, list[Group], list[Group]]
"""(issue, number of groups, groups to picture, groups to list)."""

SHAPES = {1 / 2: "1:2", 3 / 4: "3:4", 1: "1:1", 4 / 3: "4:3", 16 / 9: "16:9", 3: "3:1"}


def write_eda(
    manifest: Manifest,
    *,
    path: Path,
    show: Sequence[str] = (),
    workers: int = 0,
    on_photos: Callable[[int], object] = lambda count: None,
) -> None:
    """Writes the page.

    Args:
      manifest: the data set.
      path: the file to write.
      show: ids of photos to show first.
      workers: number of processes that survey the photos; 0 means one per CPU.
      on_photos: called with the number of photos surveyed since the last call.

    Raises:
      UserError: there is no photo, or one of `show` is not among them.
    """
    photos = photo_table(manifest)
    requested = _numbers(show, photos, manifest)
    survey = survey_photos(manifest, workers=workers, on_photos=on_photos)
    photos = with_measurements(photos, survey, manifest)
    groups, rejected, folds = (
        duplicate_groups(manifest, photos),
        rejected_table(manifest),
        fold_counts(photos, manifest),
    )
    similarity = _similarity(groups, photos, manifest)
    by_issue = _by_issue(sorted(groups, key=lambda group: -similarity.get(group, -1.0)))
    remarked = remarked_photos(manifest, photos)
    samples, odd = _samples(photos, manifest.class_count), _odd_photos(photos)
    if remarked:
        odd.insert(0, (f"Remarked on by the converter ({len(remarked):,})", remarked[:REMARKED_PHOTOS]))
    pictured = _pictured(requested, samples, odd, by_issue)
    write_html(
        path,
        "eda.html",
        name=Path(manifest.directory).resolve().name,
        manifest=manifest,
        counts=photos["split"].value_counts().to_dict(),
        findings=sorted(
            find(photos, manifest=manifest, groups=groups, rejected=len(rejected), remarked=len(remarked), folds=folds),
            key=lambda finding: finding.good,
        ),
        pictures=_thumbnails(pictured, photos, manifest),
        rows=photos.loc[sorted({*pictured, *_named(by_issue)})].to_dict("index"),
        requested=requested,
        classes=_class_rows(photos, manifest, survey),
        samples=samples,
        average_test=to_jpeg(survey.averages[-1]) if -1 in survey.averages else None,
        sizes=_size_rows(photos),
        size_charts=_size_charts(photos),
        light_charts=_light_charts(photos),
        odd=odd,
        groups=groups,
        by_issue=by_issue,
        similarity=similarity,
        members_pictured=MEMBERS_PICTURED,
        members_listed=MEMBERS_LISTED,
        rejected=rejected.head(REJECTED_LISTED).to_dict("records"),
        rejected_count=len(rejected),
        reasons=rejected["reason"].value_counts().to_dict(),
        fold_rows=_fold_rows(folds) if manifest.class_count <= FOLD_CLASSES else [],
        fold_totals=folds.sum().to_dict(),
        listed=_listed(photos) if len(photos) <= LISTED_PHOTOS else None,
    )


def _numbers(ids: Sequence[str], photos: pd.DataFrame, manifest: Manifest) -> list[int]:
    number_of = dict(zip(photos["id"], photos.index, strict=True))
    if missing := [name for name in ids if name not in number_of]:
        raise UserError(
            f"There is no photo {missing[0]!r} in {manifest.directory}: --show takes ids from ids-train.csv and "
            f"ids-test.csv, such as {photos['id'].iloc[0]!r}."
        )
    return [int(number_of[name]) for name in ids]


def _similarity(groups: Sequence[Group], photos: pd.DataFrame, manifest: Manifest) -> dict[Group, float]:
    """Returns how similar the photos of a group are in colour: the smallest correlation with its first photo, −1..1.

    It is 1 for equal photos. (The search for duplicates compares grey pictures.) If there are very many groups, only
    the first ones are compared, those with a note before the others.
    """
    compared = sorted(groups, key=lambda group: not group.notes)[:GROUPS_COMPARED]
    shown = {group: group.members[:MEMBERS_PICTURED] for group in compared}
    members = [number for numbers in shown.values() for number in numbers]
    pixels = {}
    for number, encoded in _thumbnails(members, photos, manifest, side=max(COMPARED_SIZE)).items():
        image = Image.open(io.BytesIO(encoded)).resize(COMPARED_SIZE)
        values = np.asarray(image, np.float64).ravel()
        pixels[number] = (values - values.mean()) / max(values.std(), 1.0)
    return {
        group: 1.0
        if group.kind == "exact"
        else min(float(np.mean(pixels[numbers[0]] * pixels[number])) for number in numbers)
        for group, numbers in shown.items()
    }


def _thumbnails(
    numbers: Sequence[int], photos: pd.DataFrame, manifest: Manifest, *, side: int = THUMBNAIL_PX
) -> dict[int, bytes]:
    """Thumbnails by the photos' numbers in the table."""
    wanted = photos.loc[sorted(set(numbers)), ["split", "row"]]
    keys = [("test" if split == "test" else "train", row) for split, row in wanted.itertuples(index=False)]
    rows = {name: [row for of, row in keys if of == name] for name in ("train", "test")}
    thumbnails = read_thumbnails(manifest, rows, side=side)
    return {number: thumbnails[key] for number, key in zip(wanted.index.tolist(), keys, strict=True)}


def _pictured(
    requested: Sequence[int],
    samples: Mapping[int, Sequence[int]],
    odd: Sequence[tuple[str, Sequence[tuple[int, str]]]],
    by_issue: Sequence[Issue],
) -> list[int]:
    """Returns the numbers of all photos that the page shows."""
    numbers = [*requested, *(number for sample in samples.values() for number in sample)]
    numbers += [number for _, photos in odd for number, _ in photos]
    return numbers + [n for _, _, shown, _ in by_issue for group in shown for n in group.members[:MEMBERS_PICTURED]]


def _named(by_issue: Sequence[Issue]) -> list[int]:
    """Returns the numbers of all photos in the groups that the page shows or lists."""
    return [n for _, _, shown, listed in by_issue for group in (*shown, *listed) for n in group.members]


def _by_issue(groups: Sequence[Group]) -> list[Issue]:
    """Returns every issue that groups have, with each group under its first one."""
    issues: dict[str, list[Group]] = {DIFFERENT_LABELS: [], LEAK: [], "": [], SCENE: []}
    for group in groups:
        harmless = SCENE if group.kind == SCENE else ""
        issues[next((issue for issue in (DIFFERENT_LABELS, LEAK) if issue in group.notes), harmless)].append(group)
    end = GROUPS_PICTURED + GROUPS_LISTED
    return [
        (issue, len(here), here[:GROUPS_PICTURED], here[GROUPS_PICTURED:end]) for issue, here in issues.items() if here
    ]


def _samples(photos: pd.DataFrame, class_count: int) -> dict[int, list[int]]:
    """Returns for each label the numbers of a few training photos, evenly spaced over the class."""
    count = max(1, min(SAMPLES_PER_CLASS, SAMPLE_PHOTOS // class_count))
    training = photos[photos["split"] == "train"]
    return {
        label: numbers[np.unique(np.linspace(0, len(numbers) - 1, count).round().astype(int))].tolist()
        for label in range(min(class_count, SAMPLE_PHOTOS))
        if len(numbers := training.index[training["label"] == label])
    }


def _odd_photos(photos: pd.DataFrame) -> list[tuple[str, list[tuple[int, str]]]]:
    """Returns the photos at the ends of some scales: (name of the end, [(number, figure)])."""
    area, sides = photos["width"] * photos["height"], photos[["width", "height"]]
    size = photos["width"].astype(str) + "×" + photos["height"].astype(str) + " px"
    light = photos["brightness"].map("brightness {:.0f}".format)
    scales = {
        "Darkest": (photos["brightness"], light),
        "Brightest": (-photos["brightness"], light),
        "Least contrast": (photos["contrast"], photos["contrast"].map("contrast {:.0f}".format)),
        "Fewest pixels": (area, size),
        "Farthest from square": (-sides.max(axis=1) / sides.min(axis=1), size),
        "Most compressed": (photos["bytes"] / area, (8 * photos["bytes"] / area).map("{:.2f} bits per pixel".format)),
    }
    return [
        (name, [(int(number), figures[number]) for number in scale.sort_values(kind="stable").index[:ODD_PHOTOS]])
        for name, (scale, figures) in scales.items()
        if scale.nunique() > 1
    ]


def _class_rows(photos: pd.DataFrame, manifest: Manifest, survey: Survey) -> list[dict[str, Any]]:
    of_label = dict(iter(photos[photos["split"] != "test"].groupby("label")))
    largest, total = max(entry.count for entry in manifest.classes), sum(entry.count for entry in manifest.classes)
    rows = []
    for entry in manifest.classes:
        here = of_label.get(entry.label, photos.iloc[:0])
        rows.append(
            {
                "entry": entry,
                "extra": int((here["split"] == "extra").sum()),
                "fraction": entry.count / max(total, 1),
                "of_largest": entry.count / max(largest, 1),
                "upright": float((here["height"] > here["width"]).mean()) if len(here) else None,
                "brightness": [float(here["brightness"].quantile(q)) for q in (0.05, 0.5, 0.95)] if len(here) else None,
                "average": to_jpeg(survey.averages[entry.label]) if entry.label in survey.averages else None,
            }
        )
    return rows


def _size_rows(photos: pd.DataFrame) -> list[tuple[str, int, float]]:
    """Returns (size, photos, fraction of all photos), the most frequent first, with all others in the last row."""
    sizes = photos["width"].astype(str) + "×" + photos["height"].astype(str)
    counts = sizes.value_counts()
    rows = [(str(size), int(count)) for size, count in counts.head(SIZES_LISTED).items()]
    if others := len(counts) - len(rows):
        rows.append((f"{others:,} others", int(counts.iloc[SIZES_LISTED:].sum())))
    return [(name, count, count / len(photos)) for name, count in rows]


def _size_charts(photos: pd.DataFrame) -> list[tuple[str, Markup]]:
    sides = photos[["width", "height"]]
    shown = photos.assign(
        shape=np.log2(photos["width"] / photos["height"]), longer=sides.max(axis=1), kilobytes=photos["bytes"] / 1024
    )
    ticks = {float(np.log2(ratio)): text for ratio, text in SHAPES.items()}
    largest_file = max(float(shown["kilobytes"].quantile(0.995)), 1.0)
    return [
        ("Shape", _histogram(shown, "shape", "width : height", edges=np.linspace(-1.6, 1.6, 65), ticks=ticks)),
        ("Longer side", _histogram(shown, "longer", "pixels", edges=np.linspace(0, shown["longer"].max(), 41))),
        ("File size", _histogram(shown, "kilobytes", "kB as stored", edges=np.linspace(0, largest_file, 41))),
    ]


def _light_charts(photos: pd.DataFrame) -> list[tuple[str, Markup]]:
    return [
        ("Brightness", _histogram(photos, "brightness", "mean luma, 0 to 255", edges=np.linspace(0, 255, 52))),
        ("Contrast", _histogram(photos, "contrast", "standard deviation of luma", edges=np.linspace(0, 127.5, 52))),
    ]


def _histogram(photos: pd.DataFrame, column: str, label: str, **style: Any) -> Markup:
    of_test = photos["split"] == "test"
    series = {"training": photos[column][~of_test].to_numpy(), "test": photos[column][of_test].to_numpy()}
    return histogram_svg(series, label=label, **style)


def _fold_rows(folds: pd.DataFrame) -> list[tuple[int, list[tuple[int, float]]]]:
    """Returns (label, [(photos, their relative deviation from the class's mean over the folds)])."""
    return [
        (label, [(int(count), float(count / max(counts.mean(), 1) - 1)) for count in counts])
        for label, counts in enumerate(folds.to_numpy())
    ]


def _listed(photos: pd.DataFrame) -> list[tuple[str, int, list[str]]]:
    """Returns (split, label, ids) of every photo, for searching in the browser."""
    parts = []
    for split in ("train", "extra", "test"):
        here = photos[photos["split"] == split]
        labels = sorted(here["label"].unique().tolist())
        parts += [(split, label, here["id"][here["label"] == label].tolist()) for label in labels]
    return parts
