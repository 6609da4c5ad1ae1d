"""JSON files that name the classes, such as label_num_to_disease_map.json."""

import json
from collections.abc import Collection
from typing import Any

from carclf.convert.tree import Tree
from carclf.errors import UserError

MAX_BYTES = 2**20  # of a map


def class_map(tree: Tree, categories: Collection[str]) -> tuple[dict[str, str], str]:
    """Returns (category → name, the file), from a JSON object at the root that maps each label to a name of its own.

    An object from name to label is turned round. Both are empty if there is none.

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
            if len(names) == len(categories) and names and len(set(names.values())) == len(names):
                return ({}, "") if all(label == name for label, name in names.items()) else (names, entry.path)
    return {}, ""


def _pairs(content: Any) -> dict[str, str]:
    """Returns the entries of a flat JSON object as texts; none if it is something else."""
    if not isinstance(content, dict) or not all(isinstance(value, (str, int)) for value in content.values()):
        return {}
    return {key.strip(): str(value).strip() for key, value in content.items() if str(value).strip()}
