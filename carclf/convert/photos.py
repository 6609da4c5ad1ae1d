"""The photos of an input and their Ids: by class folder, by CSV, or unlabelled."""

import dataclasses
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from carclf.convert.id_lookup import Lookup
from carclf.convert.labels import LabelFile, named
from carclf.convert.sources import Entry
from carclf.convert.tree import is_photo
from carclf.errors import UserError


@dataclasses.dataclass(frozen=True, slots=True)
class Photo:
    """One photo of the input, not yet read.

    Attributes:
      id: unique within its split.
      split: 'train', 'extra' or 'test'.
      category: its label as the input writes it; "" for test photos.
      entry: where its bytes are.
    """

    id: str
    split: str
    category: str
    entry: Entry


@dataclasses.dataclass(frozen=True, slots=True)
class Rejection:
    """A photo or file that was not stored.

    Attributes:
      id: of the photo.
      split: as in `Photo`.
      category: as in `Photo`.
      reason: in words.
      path: in the input; "" if there is no file.
    """

    id: str
    split: str
    category: str
    reason: str
    path: str


@dataclasses.dataclass
class Findings:
    """What listing the photos finds: refused photos, and sentences about harmless things."""

    rejected: list[Rejection] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)


def composed(text: str) -> str:
    """Returns the text in Unicode's composed form; file names from a Mac have the decomposed one."""
    return unicodedata.normalize("NFC", text)


def by_folder(entries: Sequence[Entry], *, depth: int, split: str, findings: Findings) -> list[Photo]:
    """Returns the photos of class folders; `depth` is the number of folders above the classes."""
    usable = _photos_only(entries, findings)
    loose = [e.path for e in usable if e.path.count("/") <= depth]
    if loose:
        findings.notes.append(f"{len(loose)} photos lie in no class folder and were left out: {named(loose)}.")
    usable = [e for e in usable if e.path.count("/") > depth]
    ids = _ids_of(usable, depth=depth)
    return [Photo(i, split, composed(e.path.split("/")[depth]), e) for i, e in zip(ids, usable, strict=True)]


def unlabelled(entries: Sequence[Entry], *, depth: int, split: str, findings: Findings) -> list[Photo]:
    """Returns every photo, without a category; `depth` is the number of leading folders that are not part of an Id."""
    usable = _photos_only(entries, findings)
    return [Photo(i, split, "", e) for i, e in zip(_ids_of(usable, depth=depth), usable, strict=True)]


def by_label(
    entries: Sequence[Entry], labels: LabelFile, *, split: str, findings: Findings, elsewhere: LabelFile | None = None
) -> list[Photo]:
    """Returns the photos that `labels` names, under its Ids; rejects Ids without a photo, notes other photos.

    Args:
      entries: where to look.
      labels: Ids, and categories if the file has them.
      split: of the photos.
      findings: added to.
      elsewhere: another file whose photos may be among `entries`.

    Raises:
      UserError: an Id matches several photos, a photo several Ids, or there are training photos and none has an Id.
    """
    usable = _photos_only(entries, findings)
    other = Lookup(usable, elsewhere.shown) if elsewhere else None
    theirs = {found.path for i in elsewhere.labels if (found := other.get(i))} if elsewhere and other else set()
    matches, note = Lookup(usable, labels.shown).match(labels.labels, taken=theirs)
    findings.notes += [note] if note else []
    photos: dict[str, Photo] = {}
    for photo_id, category in labels.labels.items():
        entry = matches.get(photo_id)
        if entry is None:
            findings.rejected.append(_missing(photo_id, labels, split=split))
        elif entry.path in photos:
            raise _named_twice(entry.path, photos[entry.path].id, photo_id, labels)
        else:
            photos[entry.path] = Photo(photo_id, split, composed(category), entry)
    if split == "train" and usable and not photos:
        example, present = next(iter(labels.labels)), usable[0].path
        raise UserError(
            f"No photo has one of the {len(labels.labels):,} Ids in the column {labels.id_column!r} of {labels.shown} "
            f"(such as {example}; a photo is {present}): {labels.advice()}."
        )
    known = theirs
    if elsewhere and other:
        known |= {found.path for found in other.match(elsewhere.labels, taken=photos)[0].values()}
    left = [e.path for e in usable if e.path not in photos and e.path not in known]
    if left:
        findings.notes.append(f"{len(left)} photos are not in {labels.shown} and were left out: {named(left)}.")
    _note_repeated(labels, findings)
    return list(photos.values())


def cross_checked(photos: Sequence[Photo], labels: LabelFile, *, findings: Findings) -> list[Photo]:
    """Returns the photos of class folders under the CSV's Ids.

    Raises:
      UserError: a photo is in a different class's folder than the CSV says, an Id matches several photos, or a photo
        several Ids.
    """
    by_path = {photo.entry.path: photo for photo in photos}
    matches, note = Lookup([photo.entry for photo in photos], labels.shown).match(labels.labels)
    findings.notes += [note] if note else []
    wrong = []
    listed: dict[str, str] = {}
    for photo_id, category in labels.labels.items():
        entry = matches.get(photo_id)
        if entry is None:
            findings.rejected.append(_missing(photo_id, labels, split="train"))
        elif entry.path in listed:
            raise _named_twice(entry.path, listed[entry.path], photo_id, labels)
        elif by_path[entry.path].category != composed(category):
            wrong.append(f"{entry.path} ({labels.shown}: {category})")
        else:
            listed[entry.path] = photo_id
            by_path[entry.path] = dataclasses.replace(by_path[entry.path], id=photo_id)
    if wrong:
        raise UserError(
            f"{len(wrong)} photos lie in another class's folder than {labels.shown} says: {named(wrong)}; correct the "
            "one or the other."
        )
    unlisted = [path for path in by_path if path not in listed]
    if unlisted:
        findings.notes.append(
            f"{len(unlisted)} photos are not in {labels.shown} and took their folder's label: {named(unlisted)}."
        )
    _note_repeated(labels, findings)
    return list(by_path.values())


def _note_repeated(labels: LabelFile, findings: Findings) -> None:
    if labels.repeated:
        findings.notes.append(f"{labels.shown} names {len(labels.repeated)} Ids repeatedly: {named(labels.repeated)}.")


def _named_twice(path: str, one: str, other: str, labels: LabelFile) -> UserError:
    return UserError(f"{labels.shown} names {path} as {one} and as {other}: {labels.advice()}.")


def _missing(photo_id: str, labels: LabelFile, *, split: str) -> Rejection:
    reason = f"named in {labels.shown}, but there is no such photo"
    return Rejection(photo_id, split, labels.labels[photo_id], reason, "")


def _photos_only(entries: Iterable[Entry], findings: Findings) -> list[Entry]:
    photos, others = [], []
    for entry in entries:
        if is_photo(entry):
            photos.append(entry)
        elif not entry.path.lower().endswith(".csv"):
            others.append(entry.path)
    if others:
        findings.notes.append(f"{len(others)} files are no photos and were left out: {named(others)}.")
    return photos


def _ids_of(entries: Sequence[Entry], *, depth: int) -> list[str]:
    """Returns unique Ids: the file name; if files share it, the path below `depth` folders, or the whole path."""
    paths = [composed(entry.path) for entry in entries]
    names = [PurePosixPath(path).name for path in paths]
    below = ["/".join(path.split("/")[depth:]) for path in paths]
    name_count, below_count = Counter(names), Counter(below)
    return [
        name if name_count[name] == 1 else short if below_count[short] == 1 else entry.path
        for name, short, entry in zip(names, below, entries, strict=True)
    ]
