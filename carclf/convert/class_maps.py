"""JSON files that name the classes, such as label_num_to_disease_map.json."""

import json
import re
from collections.abc import Collection
from typing import Any

from carclf.convert.tree import Tree
from carclf.errors import UserError

MAX_BYTES = 2**20  # of a map
NUMBER = re.compile(r"[-+]?\d+([.,]\d+)?")


def class_map(tree: Tree, categories: Collection[str]) -> tuple[dict[str, str], str]:
    """Returns (category → name, the file), from a JSON object at the root that maps each label to a name of its own.

    An object from name to label is turned round. Names that are all numbers are none, but labels or counts beside the
    classes, as in Keras's class_indices.json. Both are empty if there is no map.

    Args:
      tree: the files of the input.
      categories: the labels of the training photos.
    """
    for entry in tree.entries:
        if "/" in entry.path or not entry.path.lower().endswith(".json") or entry.size > MAX_BYTES:
            continue
        try:
            content = json.loads(tree.read(entry))
        except (UserError, ValueError, RecursionError):
            continue
        for pairs in (_pairs(content), {name: label for label, name in _pairs(content).items()}):
            names = {category: pairs[category] for category in categories if category in pairs}
            if len(names) == len(categories) and _are_names(names.values()):
                return ({}, "") if all(label == name for label, name in names.items()) else (names, entry.path)
    return {}, ""


def _are_names(texts: Collection[str]) -> bool:
    return len(set(texts)) == len(texts) and not all(map(NUMBER.fullmatch, texts))


def _pairs(content: Any) -> dict[str, str]:
    """Returns the entries of a flat JSON object as texts; none if it is something else."""
    if not isinstance(content, dict) or not all(map(_is_text, content.values())):
        return {}
    return {key.strip(): str(value).strip() for key, value in content.items() if str(value).strip()}


def _is_text(value: object) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool)
