"""carclf: from the photos of an image-classification competition to its submission.

The names in `__all__` are the public Python API (docs/python.md). `import carclf` imports no framework: each name is
imported when it is first used. The import registers carclf's classes with Keras (`carclf.registration`), so that
`keras.models.load_model` can load saved models that contain them.
"""

import sys
from typing import TYPE_CHECKING, Any

from carclf.registration import register_with_keras

if TYPE_CHECKING:  # for type checkers and editors; at run time `__getattr__` imports the names
    from carclf.api import (
        build_classifier,
        build_schedule,
        list_backbones,
        list_heads,
        list_recipes,
        list_schedules,
        load_run,
        open_dataset,
        training_batches,
        validation_batches,
        view_batches,
    )
    from carclf.data.manifest import Manifest as Dataset
    from carclf.errors import UserError
    from carclf.inference.run_predictor import Predictor
    from carclf.model.render import Render
    from carclf.recipe import parse_recipe, parse_views


def _starts_a_command() -> bool:
    """Returns whether Python was started as `python -m carclf.COMMAND` and has not found that module yet."""
    words = sys.orig_argv
    return sys.argv[:1] == ["-m"] and "-m" in words and words[words.index("-m") + 1].split(".")[0] == __name__


if _starts_a_command():  # signals count from here on; a program that imports carclf does not wait for this module
    from carclf import preemption

    preemption.begin()

__version__ = "0.1.0"

__all__ = [
    "Dataset",
    "Predictor",
    "Render",
    "UserError",
    "build_classifier",
    "build_schedule",
    "list_backbones",
    "list_heads",
    "list_recipes",
    "list_schedules",
    "load_run",
    "open_dataset",
    "parse_recipe",
    "parse_views",
    "training_batches",
    "validation_batches",
    "view_batches",
]

# The modules of the names that are not functions of carclf.api.
_HOMES = {
    "Dataset": "carclf.data.manifest:Manifest",
    "Predictor": "carclf.inference.run_predictor:Predictor",
    "Render": "carclf.model.render:Render",
    "UserError": "carclf.errors:UserError",
    "parse_recipe": "carclf.recipe:parse_recipe",
    "parse_views": "carclf.recipe:parse_views",
}


if not TYPE_CHECKING:  # a type checker would take every name for known

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            import difflib

            near = difflib.get_close_matches(name, __all__, n=1)
            hint = f": did you mean {near[0]}?" if near else f": its public names are {', '.join(__all__)}"
            raise AttributeError(f"module 'carclf' has no attribute {name!r}{hint}")
        import importlib

        module, attribute = _HOMES.get(name, f"carclf.api:{name}").split(":")
        value = getattr(importlib.import_module(module), attribute)
        globals()[name] = value  # so that it is looked up only once
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


register_with_keras()
