"""Augmentation as small arrays: a text compiles to a recipe, and a recipe draws two matrices per photo.

NumPy only: this package touches no pixels and imports neither TensorFlow nor Keras.
"""

from carclf.recipe.chain import Recipe, parse_recipe
from carclf.recipe.draws import DRAW_SHAPES, Draws
from carclf.recipe.mixing import mix_targets
from carclf.recipe.operation import signature
from carclf.recipe.operations import NAMED_RECIPES, RECIPES
from carclf.recipe.views import VIEWS, View, parse_views

__all__ = [
    "DRAW_SHAPES",
    "NAMED_RECIPES",
    "RECIPES",
    "VIEWS",
    "Draws",
    "Recipe",
    "View",
    "known_operations",
    "mix_targets",
    "parse_recipe",
    "parse_views",
]


def known_operations() -> str:
    """Returns help text: one line for every augmentation, named recipe and view."""
    lines = ["Augmentations (each also takes p=, the fraction of photos it changes):"]
    lines += [_line(signature(name, row.arguments), row.summary) for name, row in RECIPES.items()]
    lines += ["Named recipes:"]
    lines += [_line(name, text or "no augmentation") for name, text in NAMED_RECIPES.items()]
    lines += ["Views:"]
    lines += [_line(signature(name, kind.arguments), kind.parts.__doc__) for name, kind in VIEWS.items()]
    lines += [_line("random(n, recipe=notebook)", "n draws of a recipe.")]
    return "\n".join(lines)


def _line(left: str, text: str | None) -> str:
    return f"  {left:<52} {(text or '').strip().splitlines()[0]}"
