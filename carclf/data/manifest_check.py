"""What must hold in a dataset.json beyond the types of its entries."""

import re
from typing import TYPE_CHECKING

from carclf.forms.form import Form
from carclf.schema import shown, typed

if TYPE_CHECKING:
    from carclf.data.manifest import ListFile, Manifest, Shard

SPLITS = ("train", "extra", "test")
ID_SPLITS = ("train", "test")  # rows of `extra` photos follow those of `train` in the same list


def check_content(manifest: "Manifest") -> None:
    """Checks what types cannot: labels in order, files below the folder, counts that add up.

    Raises:
      ValueError: the first fault, as the end of a sentence.
    """
    for number, entry in enumerate(manifest.classes):
        if entry.label != number:
            raise ValueError(f"classes[{number}].label is {entry.label} instead of {number}")
    if len(set(manifest.class_labels)) < manifest.class_count:
        raise ValueError("two classes have one category")
    if not re.fullmatch("[0-9a-f]{64}", manifest.fingerprint):
        raise ValueError(f"fingerprint is {shown(manifest.fingerprint)} instead of 64 hexadecimal digits")
    if typed(manifest.options.get("max_side"), int, at="options.max_side") < 1:
        raise ValueError("options.max_side is below 1")
    if missing := sorted(set(ID_SPLITS) - set(manifest.ids)):
        raise ValueError(f"ids.{missing[0]} is missing")
    files: list[Shard | ListFile] = [*manifest.shards, *manifest.ids.values(), *manifest.lists.values(), manifest.index]
    for file in files:
        _check_file(file)
    _check_shards(manifest)
    if manifest.form:
        _check_form(manifest.form)


def _check_shards(manifest: "Manifest") -> None:
    if len({shard.file for shard in manifest.shards}) < len(manifest.shards):
        raise ValueError("two shards are the same file")
    for shard in manifest.shards:
        if shard.split not in SPLITS or (shard.fold is None) == (shard.split == "train") or (shard.fold or 0) < 0:
            raise ValueError(f"{shown(shard.file)} is of split {shown(shard.split)} and fold {shard.fold}")
    if (photos := sum(shard.count for shard in manifest.shards)) != manifest.index.count:
        raise ValueError(f"the shards have {photos} photos and the index {manifest.index.count}")


def _check_file(entry: "Shard | ListFile") -> None:
    parts = entry.file.split("/")
    if not entry.file or "\\" in entry.file or ":" in parts[0] or {"", ".", ".."} & set(parts) or "\0" in entry.file:
        raise ValueError(f"the file {shown(entry.file)} does not lie below the folder")
    if min(entry.count, getattr(entry, "bytes", 0)) < 0:
        raise ValueError(f"{shown(entry.file)} has a negative count")


def _check_form(form: Form) -> None:
    if not form.header or not form.answer_columns or not {*form.answer_columns, form.id_name} <= set(form.header):
        raise ValueError("form.answer_columns and form.id_column are not all columns of form.header")
    if form.k < 0:
        raise ValueError(f"form.k is {form.k}")
