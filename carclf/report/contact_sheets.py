"""A contact sheet of some photos of a data set, named by their Ids."""

from collections.abc import Mapping
from pathlib import Path

from carclf.data.decoder import decode
from carclf.data.manifest import Manifest
from carclf.data.photos import read_photos
from carclf.report.photo_tables import draw_contact_sheet

SHEET_PHOTOS = 60  # at most, to stay readable


def draw_photos_of(captions: Mapping[str, str], *, manifest: Manifest, split: str, path: Path, title: str) -> None:
    """Writes a picture of the photos, in the order of `captions`.

    Args:
      captions: Id → text of at most two lines; at least one.
      manifest: the data set.
      split: of the photos, 'test' or 'train'.
      path: the picture; its suffix determines the format.
      title: above it.
    """
    rows = {name: row for row, name in enumerate(manifest.read_ids(split)["id"]) if name in captions}
    encoded = read_photos(manifest, split=split, rows=list(rows.values()))
    photos = [decode(encoded[rows[name]]) for name in captions]
    draw_contact_sheet(photos, list(captions.values()), path=path, title=title)
