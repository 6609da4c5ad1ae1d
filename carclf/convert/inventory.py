"""Recognises the layout of the input and lists its photos."""

import dataclasses
import itertools
import os
import re
from collections import Counter

from carclf.convert.id_lookup import keys_of
from carclf.convert.labels import LabelFile, named, read_label_file
from carclf.convert.options import ConvertOptions
from carclf.convert.photos import (
    Findings,
    Photo,
    Rejection,
    by_folder,
    by_label,
    composed,
    cross_checked,
    unlabelled,
)
from carclf.convert.sources import Entry, Source
from carclf.convert.tree import TEST, TRAIN, VALIDATION, Tree, is_photo, open_tree, role_of, under
from carclf.errors import UserError

SAMPLE_FILE = re.compile(r"^sample[-_ ]?submission.*\.csv$", re.IGNORECASE)
LABEL_FILE = re.compile(r"^(train|training|labels|train[-_ ]labels)\.csv$", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Inventory:
    """The input, listed.

    Attributes:
      layout: the one that was recognised.
      sources: of the entries.
      photos: to be validated, sorted by split and Id.
      rejected: files that must not be read, and Ids without a file.
      sample_submission: the bytes of the sample, or None.
      notes: harmless findings, one sentence each.
    """

    layout: str
    sources: tuple[Source, ...]
    photos: tuple[Photo, ...]
    rejected: tuple[Rejection, ...] = ()
    sample_submission: bytes | None = None
    notes: tuple[str, ...] = ()

    def describe(self) -> str:
        """Returns one line: the layout, photos, classes."""
        splits = Counter(photo.split for photo in self.photos)
        classes = len({photo.category for photo in self.photos if photo.split == "train"})
        extra = f" and {splits['extra']:,} external" if splits["extra"] else ""
        return (
            f"recognised: {self.layout}, {splits['train']:,} training{extra} and {splits['test']:,} test photos in "
            f"{classes} classes"
        )


def take_inventory(options: ConvertOptions, *, spool: str) -> Inventory:
    """Lists the photos of `options.input` (and `options.external`) without reading any.

    Args:
      options: of the converter.
      spool: a folder for archives that are deflated inside an archive; created only if there are any.

    Raises:
      UserError: nothing is there, the layout is not recognised, or labels and photos contradict each other.
    """
    how = {"spool": spool, "zip_encoding": options.zip_encoding}
    tree = open_tree(options.input, first_source=0, flag="input", **how)
    recognise = _listed if options.labels else _train_and_test if under(tree.entries, TRAIN) else _classes
    findings = Findings(notes=list(tree.notes))
    layout, photos, sample = recognise(tree, options, findings)
    if not any(photo.split == "train" for photo in photos):
        raise UserError(
            f"--input={options.input} was read as {layout} and has no training photos{_why_none(tree, findings)}: give "
            "class folders, the competition's zip or folder, or --labels=CSV."
        )
    trees = [tree]
    if options.external:
        trees.append(open_tree(options.external, first_source=len(tree.sources), flag="external", **how))
        photos += _external(trees[1], photos, options, findings)
    return Inventory(
        layout=layout,
        sources=tuple(source for one in trees for source in one.sources),
        photos=_in_order(photos),
        rejected=tuple(sorted(_with_refused(findings.rejected, trees, photos), key=lambda r: (r.split, r.id, r.path))),
        sample_submission=sample,
        notes=tuple(findings.notes),
    )


def _why_none(tree: Tree, findings: Findings) -> str:
    """Returns how many photos were refused or found by no Id, with the first and its reason; else the first note."""
    reasons = [(entry.path, entry.problem) for entry in tree.refused]
    reasons += [(rejection.path or rejection.id, rejection.reason) for rejection in findings.rejected]
    if reasons:
        path, reason = reasons[0]
        counted = "1 was" if len(reasons) == 1 else f"{len(reasons):,} were"
        return f"; {counted} refused or found by no Id (first: {path}: {reason})"
    return f"; {findings.notes[0].rstrip('.')}" if findings.notes else ""


def _train_and_test(tree: Tree, options: ConvertOptions, findings: Findings) -> tuple[str, list[Photo], bytes | None]:
    """Lists train/ (class folders, or flat with train.csv), and validation/ and test/ if they are there."""
    entries = under(tree.entries, TRAIN, VALIDATION)
    label_entry, sample_entry = _root_file(tree, LABEL_FILE), _root_file(tree, SAMPLE_FILE)
    labels = _parse_labels(tree.read(label_entry), label_entry.path, options) if label_entry else None
    if any(e.path.count("/") >= 2 for e in entries if is_photo(e)):
        photos = by_folder(entries, depth=1, split="train", findings=findings)
        photos = cross_checked(photos, labels, findings=findings) if labels else photos
    elif labels:
        photos = by_label(entries, labels, split="train", findings=findings)
    else:
        raise UserError(
            "The photos of train/ lie in no class folders and no train.csv is beside it: give --labels=CSV."
        )
    others = [e.path for e in tree.entries if "/" in e.path and not role_of(e.path.split("/")[0]) and is_photo(e)]
    if others:
        folders = sorted({path.split("/")[0] for path in others})
        findings.notes.append(f"{len(others):,} photos beside train/ were left out, in {named(folders)}.")
    sample = tree.read(sample_entry) if sample_entry else None
    shown = sample_entry.path if sample_entry else ""
    photos += _test_photos(under(tree.entries, TEST), _test_ids(sample, shown, options), findings)
    kind = "competition" if labels or sample else "train and test class folders in a"
    return f"{kind} {tree.container}", photos, sample


def _classes(tree: Tree, options: ConvertOptions, findings: Findings) -> tuple[str, list[Photo], bytes | None]:
    """Lists class folders at the root, or loose photos with train.csv beside them, and test/ if it is there."""
    test_entries = under(tree.entries, TEST)
    taken = {entry.path for entry in test_entries}
    entries = [entry for entry in tree.entries if entry.path not in taken]
    label_entry, sample_entry = _root_file(tree, LABEL_FILE), _root_file(tree, SAMPLE_FILE)
    if label_entry and not any("/" in entry.path and is_photo(entry) for entry in entries):
        labels = _parse_labels(tree.read(label_entry), label_entry.path, options)
        photos = by_label(entries, labels, split="train", findings=findings)
        layout = f"{tree.container} of photos with {label_entry.path}"
    else:
        photos = by_folder(entries, depth=0, split="train", findings=findings)
        layout = f"{tree.container} of class folders"
    sample = tree.read(sample_entry) if sample_entry and test_entries else None
    shown = sample_entry.path if sample_entry else ""
    return layout, photos + _test_photos(test_entries, _test_ids(sample, shown, options), findings), sample


def _listed(tree: Tree, options: ConvertOptions, findings: Findings) -> tuple[str, list[Photo], bytes | None]:
    """Lists the photos of --labels by Id, wherever they are under the input."""
    labels = _parse_labels(_file_bytes(options.labels, "labels"), os.path.basename(options.labels), options)
    sample = _file_bytes(options.test_csv, "test_csv") if options.test_csv else None
    ids = _test_ids(sample, os.path.basename(options.test_csv), options)
    test_entries = under(tree.entries, TEST)
    taken = {entry.path for entry in test_entries}
    entries = [entry for entry in tree.entries if entry.path not in taken]
    if ids and not test_entries:  # training and test photos share a folder: the two files tell them apart
        test_entries = entries
    photos = by_label(entries, labels, split="train", findings=findings, elsewhere=ids)
    photos += _test_photos(test_entries, ids, findings, elsewhere=labels)
    return f"{tree.container} of photos with {labels.shown}", photos, sample


def _test_photos(
    entries: list[Entry], ids: LabelFile | None, findings: Findings, *, elsewhere: LabelFile | None = None
) -> list[Photo]:
    if ids is None:
        return unlabelled(entries, depth=1, split="test", findings=findings)
    return by_label(entries, ids, split="test", findings=findings, elsewhere=elsewhere)


def _test_ids(sample: bytes | None, shown: str, options: ConvertOptions) -> LabelFile | None:
    if options.test_csv:
        sample, shown = _file_bytes(options.test_csv, "test_csv"), os.path.basename(options.test_csv)
    return read_label_file(sample, shown=shown, with_labels=False) if sample is not None else None


def _root_file(tree: Tree, pattern: re.Pattern[str]) -> Entry | None:
    found = [entry for entry in tree.entries if "/" not in entry.path and pattern.match(entry.path)]
    if len(found) > 1:
        raise UserError(f"The input holds {named([e.path for e in found])} side by side: keep the one that counts.")
    return found[0] if found else None


def _file_bytes(path: str, flag: str) -> bytes:
    if not os.path.isfile(path):
        raise UserError(f"There is no file --{flag}={path}: give an existing CSV.")
    with open(path, "rb") as file:
        return file.read()


def _parse_labels(content: bytes, shown: str, options: ConvertOptions) -> LabelFile:
    return read_label_file(content, shown=shown, id_column=options.id_column, label_column=options.label_column)


def _external(tree: Tree, photos: list[Photo], options: ConvertOptions, findings: Findings) -> list[Photo]:
    findings.notes += tree.notes
    extra = by_folder(tree.entries, depth=0, split="extra", findings=findings)
    foreign = sorted({p.category for p in extra} - {p.category for p in photos if p.split == "train"})
    if foreign:
        raise UserError(
            f"--external={options.external} has class folders that the training photos lack ({named(foreign)}): rename "
            "or remove them."
        )
    taken = {photo.id for photo in photos if photo.split == "train"}
    return [dataclasses.replace(p, id=f"external/{p.entry.path}") if p.id in taken else p for p in extra]


def _with_refused(rejected: list[Rejection], trees: list[Tree], photos: list[Photo]) -> list[Rejection]:
    """Returns the rejections and the files that must not be read; an Id of such a file counts once, as the file."""
    categories = {photo.category for photo in photos} | {rejection.category for rejection in rejected}
    refused = [
        (entry, _refused(entry, categories, external=number > 0))
        for number, tree in enumerate(trees)
        for entry in tree.refused
    ]
    places = {(file.split, key): place for place, (entry, file) in enumerate(refused) for key in keys_of(entry)}
    result, named_ones = [], set()
    for rejection in rejected:
        place = places.get((rejection.split, rejection.id)) if not rejection.path else None
        if place is not None and place not in named_ones:
            named_ones.add(place)
            file = refused[place][1]
            rejection = dataclasses.replace(rejection, reason=file.reason, path=file.path)
        result.append(rejection)
    return result + [file for place, (_, file) in enumerate(refused) if place not in named_ones]


def _refused(entry: Entry, categories: set[str], *, external: bool) -> Rejection:
    *folders, name = entry.path.split("/")
    if not external and TEST in {role_of(folder.removesuffix(".zip")) for folder in folders}:
        return Rejection(name, "test", "", entry.problem, entry.path)
    category = next((composed(folder) for folder in folders if composed(folder) in categories), "")
    return Rejection(name, "extra" if external else "train", category, entry.problem, entry.path)


def _in_order(photos: list[Photo]) -> tuple[Photo, ...]:
    """Returns the photos sorted by split and Id, so that directory order cannot matter; checks that Ids are unique."""
    ordered = sorted(photos, key=lambda photo: (photo.split, photo.id))
    for one, other in itertools.pairwise(ordered):
        if (one.split, one.id) == (other.split, other.id):
            raise UserError(f"The Id {one.id} stands for {one.entry.path} and {other.entry.path}: rename one of them.")
    return tuple(ordered)
