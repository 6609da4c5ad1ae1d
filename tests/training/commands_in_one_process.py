"""Run by test_jax_lane.py: runs several commands in one process, which imports and compiles only once."""

import importlib
import json
import sys

from carclf import command
from carclf.evaluate import EvaluateOptions
from carclf.predict import PredictOptions
from carclf.report import augmentation, run_files
from carclf.train_options import TrainOptions

OPTIONS = {"train": TrainOptions, "evaluate": EvaluateOptions, "predict": PredictOptions}


def main() -> None:
    augmentation.draw_recipe = lambda *_, **__: None
    for name in ("draw_history", "draw_confusion", "write_page"):
        setattr(run_files, name, lambda *_, **__: None)
    for name, *arguments in json.loads(sys.argv[1]):
        options = command.parse_command_line(OPTIONS[name], arguments, description="")
        importlib.import_module(f"carclf.{name}").main(options)


main()
