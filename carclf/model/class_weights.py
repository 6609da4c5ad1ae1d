"""Class weights, for a data set with rare classes."""

import math
from collections.abc import Sequence

import numpy as np

from carclf.errors import UserError
from carclf.flags import did_you_mean
from carclf.wording import first_of

NONE, BALANCED = "none", "balanced"
WORDS = ("", NONE, BALANCED)

Counts = Sequence[int] | np.ndarray


def balanced_class_weights(counts: Counts) -> np.ndarray:
    """Returns float64 [K], inverse to the class sizes, with mean 1 over the photos: N / (K · count).

    Args:
      counts: training photos of each class.

    Raises:
      UserError: a class has no photo.

    Source: King & Zeng 2001, as in scikit-learn's `class_weight="balanced"`.
    """
    sizes = np.asarray(counts, np.float64)
    if sizes.size == 0 or np.min(sizes) < 1:
        raise UserError(
            "--class_weights=balanced is impossible, because a class has no training photo: use --class_weights=none."
        )
    return sizes.sum() / (sizes.size * sizes)


def parse_class_weights(text: str, class_names: Sequence[str], *, counts: Counts) -> np.ndarray:
    """Returns the weight of each class, float64 [K], by label.

    Args:
      text: `none` (1 for all), `balanced`, or `name:weight,name:weight`; other classes get weight 1. A name may have
        commas. Explicit weights are not normalised: if their mean over the photos is not 1, it acts like another
        learning rate.
      class_names: by label.
      counts: training photos of each class, for `balanced`.

    Raises:
      UserError: the text is none of these, a class is unknown or named twice, a weight is not a number of at least 0,
        or no weight is above 0.
    """
    word = text.strip()
    if word in ("", NONE):
        return np.ones(len(class_names))
    if word == BALANCED:
        return balanced_class_weights(counts)
    weights, label_of = np.ones(len(class_names)), {name: label for label, name in enumerate(class_names)}
    for name, weight in _parse_items(word).items():
        if name not in label_of:
            hint = did_you_mean(name, class_names)
            known = first_of(class_names, most=10)
            raise UserError(f"--class_weights names the class {name!r}: {hint}Known are {known}.")
        weights[label_of[name]] = weight
    if not weights.any():
        raise UserError("--class_weights gives every class weight 0, so nothing would be learnt: raise at least one.")
    return weights


def check_class_weights(text: str) -> None:
    """Checks that `parse_class_weights` can read `text`, whatever the classes.

    Raises:
      UserError: it is not.
    """
    if (word := text.strip()) not in WORDS:
        _parse_items(word)


def _parse_items(text: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for item in _items(text):
        name, weight = _parse_item(item.strip())
        if name in weights:
            raise UserError(f"--class_weights names {name!r} twice: leave one out.")
        weights[name] = weight
    return weights


def _items(text: str) -> list[str]:
    """Returns the parts between those commas that follow a colon and a number: others belong to the name of a class."""
    items: list[str] = []
    begun: list[str] = []
    for part in text.split(","):
        begun.append(part)
        if ":" in part and _is_number(part.rpartition(":")[2]):
            items.append(",".join(begun))
            begun = []
    return [*items, ",".join(begun)] if begun else items


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parse_item(item: str) -> tuple[str, float]:
    name, colon, number = item.rpartition(":")
    name = name.strip()
    if not colon or not name:
        raise UserError(f"--class_weights has {item!r}: give none, balanced, or NAME:WEIGHT,NAME:WEIGHT.")
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not 0.0 <= weight < math.inf:
        raise UserError(f"--class_weights gives {name!r} the weight {number.strip()!r}: give a number of at least 0.")
    return name, weight
