"""Photos that are in no data set: those of a folder, a zip or a tar, one for each Id of a sample submission."""

import dataclasses
from collections.abc import Sequence

from carclf import storage
from carclf.convert.by_list import rank_for
from carclf.convert.damaged import OnDamaged
from carclf.convert.headers import lacks_header
from carclf.convert.id_lookup import Lookup
from carclf.convert.photos import ids_of
from carclf.convert.roles import ANNOTATION, TRAIN, Roles
from carclf.convert.sources import Entry, Reader
from carclf.convert.table import Table
from carclf.convert.tree import Tree, is_photo, open_tree
from carclf.data.validation import UnusableError
from carclf.errors import UserError
from carclf.forms import Sample
from carclf.inference.photo_files import printable


@dataclasses.dataclass(frozen=True, eq=False)
class PhotoList:
    """Photos to answer for.

    Attributes:
      ids: of the answers, in their order.
      notes: harmless findings, one sentence each.
    """

    ids: Sequence[str]
    notes: Sequence[str]
    _entries: Sequence[Entry | None]
    _reader: Reader

    def read(self, index: int) -> bytes:
        """Returns the bytes of the photo of `ids[index]`; safe to call from several threads.

        Raises:
          UnusableError: there is no such file, or it cannot be read.
        """
        entry = self._entries[index]
        if entry is None:
            raise UnusableError("no photo has this Id")
        try:
            return self._reader.read(entry.source, entry.name)
        except OSError as error:
            raise UnusableError(error.strerror or str(error)) from None


def list_photos(path: str, *, sample: Sample | None, spool: str, fails_on_bad: bool = False) -> PhotoList:
    """Returns the photos at a path: one for each Id of the sample, in its order, or all of them without a sample.

    Args:
      path: a folder, whose photos count at whatever depth, or an archive.
      sample: says the Ids; they are matched to files as in a conversion.
      spool: folder for archives that are deflated inside an archive.
      fails_on_bad: whether a damaged archive among the photos ends the work; else it is left out with a note.

    Raises:
      UserError: nothing is there, there is no photo, none has an Id of the sample, an Id names several, or the sample
        has an Id where its header should be.
    """
    on_damaged = OnDamaged(leaves_out=not fails_on_bad, value="prior")
    tree = open_tree(path, first_source=0, spool=spool, flag="photos", on_damaged=on_damaged)
    photos = sorted((entry for entry in tree.entries if is_photo(entry)), key=lambda entry: entry.path)
    if not photos:
        why = f" ({printable(tree.refused[0].path)}: {tree.refused[0].problem})" if tree.refused else ""
        raise UserError(
            f"There is no photo in --photos={path}{why}: give the folder or the zip of the photos to predict."
        )
    reader = Reader(tuple(tree.sources))
    notes = [*tree.notes, *_refused(tree)]
    if sample is None:
        return PhotoList(ids_of(photos, Roles(entry.path for entry in photos)), notes, photos, reader)
    _check_header(sample, photos)
    found, note = _match(photos, sample, tree=tree)
    if not found:
        raise UserError(
            f"None of the {len(sample.ids):,} Ids in {sample.shown} (first: {sample.ids[0]}) names one of the "
            f"{len(photos):,} photos in --photos={path} (first: {photos[0].path}): give the folder of the sample's "
            "photos."
        )
    return PhotoList(sample.ids, [*notes, *filter(None, [note])], [found.get(name) for name in sample.ids], reader)


def _check_header(sample: Sample, photos: Sequence[Entry]) -> None:
    table = Table(sample.shown, sample.header, sample.rows, ())
    if sample.has_header and lacks_header(table, Lookup(photos).named):
        raise UserError(
            f"{sample.shown} has no header: add a first line such as Id,Category, and take that line out of the "
            "submission."
        )


def _match(photos: Sequence[Entry], sample: Sample, *, tree: Tree) -> tuple[dict[str, Entry], str]:
    """Returns (Id → photo, a note or "").

    Beside other photos, those below a folder of training photos are meant only by their whole path: the photo of an Id
    that is missing is not the training photo of that name.

    Raises:
      UserError: an Id names several photos.
    """
    roles = Roles(entry.path for entry in photos)
    training = {entry.path: entry for entry in photos if roles.role(entry.path) == TRAIN}
    if all(roles.role(entry.path) in (TRAIN, ANNOTATION) for entry in photos):
        training = {}
    exactly = {name: training[name] for name in sample.ids if name in training}
    found, note = Lookup(entry for entry in photos if entry.path not in training).match(
        [name for name in sample.ids if name not in exactly],
        sample.shown,
        rank=rank_for("test", roles),
        advice=lambda several: _other_folder(several[0], tree),
    )
    return exactly | found, note


def _other_folder(photo: Entry, tree: Tree) -> str:
    """Returns the advice where several photos have one Id, of which this is the first."""
    source = tree.source_of(photo)
    if source.is_zip or source.ranges is not None:
        return "unpack them, and give the folder of the photos to predict alone with --photos=FOLDER"
    folder = storage.join(source.path, storage.parent(photo.name))
    return f"give the folder of the photos to predict alone, such as --photos={folder}"


def _refused(tree: Tree) -> list[str]:
    """Returns a note about the photos that are not read because of their names, if there are any."""
    photos = [entry for entry in tree.refused if is_photo(entry)]
    if not photos:
        return []
    first = printable(photos[0].path)
    return [f"Photos left out for their names: {len(photos):,} (first: {first}: {photos[0].problem})."]
