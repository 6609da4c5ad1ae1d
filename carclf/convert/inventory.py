"""The photos of an input, listed before any is read: from its layout, its archives and its external photos."""

import contextlib
import dataclasses
import itertools
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from carclf.convert.by_folder import by_folder
from carclf.convert.class_maps import class_map, written_labels
from carclf.convert.copy_names import with_copies
from carclf.convert.damaged import OnDamaged
from carclf.convert.file_kinds import holds_files, stem_of_archive
from carclf.convert.id_lookup import keys_of
from carclf.convert.labels import order_categories
from carclf.convert.layout import Layout, read_layout
from carclf.convert.options import ConvertOptions
from carclf.convert.photos import Findings, Photo, Rejection, composed
from carclf.convert.roles import TEST, Roles, role_of, role_of_file
from carclf.convert.sources import Entry, Source
from carclf.convert.tree import Tree, is_photo, open_tree
from carclf.convert.unread import not_read
from carclf.errors import UserError
from carclf.forms import Sample, foreign_answers
from carclf.wording import counted, first_of


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
      sample: the sample submission as a table, or None.
      label_column: the name of the column that the labels were read from, or "".
      class_names: category → name, of a file that names the classes; empty if there is none.
    """

    layout: str
    sources: tuple[Source, ...]
    photos: tuple[Photo, ...]
    rejected: tuple[Rejection, ...] = ()
    sample_submission: bytes | None = None
    notes: tuple[str, ...] = ()
    sample: Sample | None = None
    label_column: str = ""
    class_names: Mapping[str, str] = dataclasses.field(default_factory=dict)

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
      UserError: nothing is there, the photos have no labels, or labels and photos contradict each other.
    """
    on_damaged = OnDamaged(leaves_out=options.on_bad == "skip")
    how: dict[str, Any] = {
        "spool": spool,
        "zip_encoding": options.zip_encoding,
        "label_column": options.label_column,
        "on_damaged": on_damaged,
    }
    with contextlib.closing(open_tree(options.input, first_source=0, flag="input", **how)) as tree:
        return _inventory_of(tree, options, how)


def _inventory_of(tree: Tree, options: ConvertOptions, how: Mapping[str, Any]) -> Inventory:
    findings = Findings(notes=list(tree.notes))
    layout = read_layout(tree, options, findings)
    photos = layout.photos
    if not any(photo.split == "train" for photo in photos):
        why = _why_none(tree, findings, photos)
        raise UserError(
            f"--input={options.input} was read as {layout.name} and has no training photos{why}: give class folders, "
            "the competition's zip or folder, or --labels=CSV."
        )
    trees = [tree]
    if options.external:
        trees.append(open_tree(options.external, first_source=len(tree.sources), flag="external", **how))
        photos += _external(trees[1], photos, options, findings)
    categories = {photo.category for photo in photos if photo.split == "train"}
    findings.notes += _twins(categories)
    written = _as_the_sample_writes(tree, categories, layout, options, findings)
    categories = {written.get(category, category) for category in categories}
    names, origin = class_map(tree, categories, layout.lists.class_tables)
    if not names and categories <= tree.class_names.keys():
        names, origin = {category: tree.class_names[category] for category in categories}, "the records"
    findings.notes += [f"The names of the classes are those of {origin}."] if names else []
    unnamed = {path for one in trees for path, record in one.records.items() if record.is_numbered}
    ordered, copies = with_copies(_in_order(photos), unnamed=unnamed)
    findings.notes += [copies] if copies else []
    rejected = sorted(_with_refused(findings.rejected, trees, photos), key=lambda r: (r.split, r.id, r.path))
    return Inventory(
        layout=layout.name,
        sources=tuple(source for one in trees for source in one.sources),
        photos=tuple(dataclasses.replace(p, category=written.get(p.category, p.category)) for p in ordered),
        rejected=tuple(dataclasses.replace(r, category=written.get(r.category, r.category)) for r in rejected),
        sample_submission=layout.lists.content,
        notes=tuple(findings.notes),
        sample=layout.lists.sample,
        label_column=layout.lists.labels.label_column if layout.lists.labels else "",
        class_names=names,
    )


def _as_the_sample_writes(
    tree: Tree, categories: Collection[str], layout: Layout, options: ConvertOptions, findings: Findings
) -> dict[str, str]:
    """Returns category → label, if the answers of the sample submission are numbers that stand for the categories."""
    sample, labels = layout.lists.sample, layout.lists.labels
    if sample is None or options.classes:
        return {}
    column = labels.label_column if labels else ""
    answers = foreign_answers(sample, order_categories(categories), form=options.form, label_column=column)
    written, source = written_labels(tree, categories, answers, layout.lists.class_tables) if answers else ({}, "")
    if written:
        name, label = next(iter(sorted(written.items())))
        findings.notes.append(
            f"The labels are those of {sample.shown}, according to {source} (such as {label} for {name})."
        )
    return written


def _twins(categories: Collection[str]) -> list[str]:
    """Returns a note if the names of some classes are one when case, spaces and leading zeros do not count."""
    alike: dict[str, list[str]] = {}
    for category in sorted(categories):
        name = " ".join(category.split()).casefold()
        alike.setdefault(name.lstrip("0") if name.isdecimal() else name, []).append(category)
    found = [" and ".join(map(repr, twins)) for twins in alike.values() if len(twins) > 1]
    return [f"Classes are told apart by letter case, spaces or zeros alone: {first_of(found)}."] if found else []


def _why_none(tree: Tree, findings: Findings, tests: list[Photo]) -> str:
    """Returns which photos are not read, or were refused or found by no Id, with the reason; else the first note."""
    if clause := not_read(tree):
        return f"; {clause}"
    reasons = [(entry.path, entry.problem) for entry in tree.refused]
    reasons += [(rejection.path or rejection.id, rejection.reason) for rejection in findings.rejected]
    if reasons:
        path, reason = reasons[0]
        return f"; {counted(len(reasons), 'was', 'were')} refused or found by no Id (first: {path}: {reason})"
    if tests:
        return f"; all {len(tests):,} photos lie below {tests[0].entry.path.split('/')[0]}/"
    return f"; {findings.notes[0].rstrip('.')}" if findings.notes else ""


def _external(tree: Tree, photos: list[Photo], options: ConvertOptions, findings: Findings) -> list[Photo]:
    findings.notes += tree.notes
    entries = [entry for entry in tree.entries if is_photo(entry) and entry.path not in tree.records]
    extra = by_folder(entries, Roles(entry.path for entry in entries), split="extra", findings=findings)
    known = {photo.category for photo in photos if photo.split == "train"}
    extra += _external_records(tree, known, findings)
    foreign = sorted({photo.category for photo in extra} - known)
    if foreign:
        raise UserError(
            f"--external={options.external} has classes that the training photos lack ({first_of(foreign)}): rename or "
            "remove them."
        )
    taken = {photo.id for photo in photos if photo.split == "train"}
    return [dataclasses.replace(p, id=f"external/{p.entry.path}") if p.id in taken else p for p in extra]


def _external_records(tree: Tree, known: Collection[str], findings: Findings) -> list[Photo]:
    """Returns the external photos in files of records, each with the label or the class name of its record."""
    entries = [entry for entry in tree.entries if entry.path in tree.records]
    unlabelled = [entry.path for entry in entries if not tree.records[entry.path].label]
    times = Counter(tree.records[entry.path].id for entry in entries)
    extra = []
    for entry in entries:
        record = tree.records[entry.path]
        label, name = composed(record.label), composed(record.text or tree.class_names.get(record.label, ""))
        if label:
            photo_id = record.id if times[record.id] == 1 else entry.path
            extra.append(Photo(photo_id, "extra", name if label not in known and name in known else label, entry))
    if unlabelled:
        count = counted(len(unlabelled), "external photo has", "external photos have")
        findings.notes.append(f"{count} no label in the records, left out: {first_of(unlabelled)}.")
    return extra


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
    roles = {role_of(stem_of_archive(folder)) for folder in folders}
    if holds_files(name):
        roles.add(role_of_file(stem_of_archive(name)))
    if not external and TEST in roles:
        return Rejection(name, "test", "", entry.problem, entry.path, "unusable")
    category = next((composed(folder) for folder in folders if composed(folder) in categories), "")
    return Rejection(name, "extra" if external else "train", category, entry.problem, entry.path, "unusable")


def _in_order(photos: list[Photo]) -> tuple[Photo, ...]:
    """Returns the photos sorted by split and Id, so that directory order cannot matter; checks that Ids are unique."""
    ordered = sorted(photos, key=lambda photo: (photo.split, photo.id))
    for one, other in itertools.pairwise(ordered):
        if (one.split, one.id) == (other.split, other.id):
            raise UserError(f"The Id {one.id} stands for {one.entry.path} and {other.entry.path}: rename one of them.")
    return tuple(ordered)
