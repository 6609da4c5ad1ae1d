"""Photos inside files of records: TFRecords of others, and Parquet files; each photo lies there as it is."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from carclf.convert.archives import file_source
from carclf.convert.damaged import OnDamaged
from carclf.convert.file_kinds import is_parquet, is_photo_name, is_record_file, stem_of_records
from carclf.convert.roles import role_of, role_of_file
from carclf.convert.sources import Entry, Source, name_problem
from carclf.errors import DamagedFileError
from carclf.wording import first_of

if TYPE_CHECKING:
    from carclf.convert.tree import Tree


@dataclasses.dataclass(frozen=True, slots=True)
class RecordPhoto:
    """What a record says of its photo.

    Attributes:
      id: of the photo; "" if the record says none, until the photo is in the tree.
      label: of its class; "" if it has none.
      text: the name of its class; "" if it has none.
      is_numbered: whether the Id is the record's number in its file.
    """

    id: str
    label: str
    text: str = ""
    is_numbered: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Embedded:
    """A photo in a file of records: what the record says of it, and where its bytes are in the source's file."""

    photo: RecordPhoto
    start: int
    size: int


class RecordFile(NamedTuple):
    """What was read of a file of records.

    Attributes:
      source: a file with the bytes of the photos.
      photos: where they are in it, and what the records say.
      class_names: label → name, if the file has them.
      label_column: the column or feature that holds the labels; "" if none is known to.
    """

    source: Source
    photos: list[Embedded]
    class_names: Mapping[str, str]
    label_column: str


def expand_embedded(tree: "Tree", *, spool: str, label_column: str, on_damaged: OnDamaged) -> list[Entry]:
    """Returns the photos in the files of records, and removes these files from the tree.

    Where photos lie in folders beside them, the records are taken for the same photos, and are left out with a note.

    Args:
      tree: added to: sources, what the records say, names of classes.
      spool: a folder for packed files, created only if it is needed.
      label_column: the column or feature to read labels from, where a file has it; "" recognises it.
      on_damaged: what is done with a damaged file, or one without photos.

    Raises:
      UserError: a file is damaged, or holds no photos.
    """
    files = [entry for entry in tree.entries if is_record_file(entry.name) or is_parquet(entry.name)]
    if not files:
        return []
    paths = {entry.path for entry in files}
    tree.entries = [entry for entry in tree.entries if entry.path not in paths]
    if any(_is_photo_in_folder(entry.path) for entry in tree.entries):
        names = first_of([entry.path for entry in files])
        tree.notes.append(f"{len(files)} files of records were left out, since photos lie beside them: {names}.")
        return []
    folders = _folders([file.path for file in files])
    found: list[Entry] = []
    for file in files:
        try:
            found += _photos_of(tree, file, folder=folders[file.path], spool=spool, label_column=label_column)
        except DamagedFileError as error:
            on_damaged.handle(error, file, tree, beside=[*tree.entries, *files])
    tree.class_names.update(_class_names(tree.records.values()))
    tree.refused += [entry for entry in found if entry.problem]
    return [entry for entry in found if not entry.problem]


def _is_photo_in_folder(path: str) -> bool:
    return "/" in path and bool(PurePosixPath(path).suffix) and is_photo_name(path)


def _photos_of(tree: "Tree", file: Entry, *, folder: str, spool: str, label_column: str) -> Iterator[Entry]:
    """Yields the photos in a file of records, in a folder of its own; adds its source to the tree."""
    from carclf.convert import parquet, tfrecords

    source = file_source(tree.source_of(file), file.name, shown=file.path, spool=spool)
    read = parquet.photos_in if is_parquet(file.name) else tfrecords.photos_in
    source, found, names, column = read(source, spool=spool, label_column=label_column)
    tree.class_names.update(names)
    tree.label_columns.add(column)
    number, ranges, stem = tree.next_source, {}, stem_of_records(PurePosixPath(file.path).name)
    for place, embedded in enumerate(found):
        photo = embedded.photo
        if not photo.id:
            photo = dataclasses.replace(photo, id=f"{stem}-{place}", is_numbered=True)
        name = f"{place}/{photo.id}"
        path = f"{folder}/{name}"
        ranges[name] = (source.offset + embedded.start, embedded.size)
        tree.records[path] = photo
        yield Entry(path, number, name, embedded.size, name_problem(name))
    tree.sources.append(dataclasses.replace(source, is_zip=False, ranges=ranges))


def _folders(paths: Sequence[str]) -> dict[str, str]:
    """Returns path of a file → the folder in which its photos lie, one for each file.

    It is called as the file without its ending, and lies below the file's own folder and that of its role. Files that
    would share one, such as a.tfrec and a.tfrecord, have folders with their whole names.
    """
    usual = {}
    for path in paths:
        *folders, name = path.split("/")
        role = "" if any(map(role_of, folders)) else role_of_file(name)
        usual[path] = "/".join(filter(None, [*folders, role, stem_of_records(name)]))
    times = Counter(usual.values())
    # With the role, so that train.tfrec does not share the folder of train/train.tfrec again.
    return {
        path: folder if times[folder] == 1 else "/".join(filter(None, [_role(path), path]))
        for path, folder in usual.items()
    }


def _role(path: str) -> str:
    """Returns the role of a file of records: that of the outermost folder that has one, else that of its name."""
    *folders, name = path.split("/")
    return next(filter(None, map(role_of, folders)), "") or role_of_file(name)


def _class_names(photos: Iterable[RecordPhoto]) -> dict[str, str]:
    """Returns label → name if every label has one name of its own."""
    names: dict[str, set[str]] = {}
    for photo in photos:
        if photo.label and photo.text:
            names.setdefault(photo.label, set()).add(photo.text)
    only = {label: min(texts) for label, texts in names.items() if len(texts) == 1}
    return only if only and len(only) == len(names) and len(set(only.values())) == len(only) else {}
