"""Run by test_stages.py: trains stage files in miniature, one after the other in one process, and reports each."""

import dataclasses
import json
import sys
import traceback

import tensorflow as tf

from carclf import train
from carclf.command import parse_command_line
from carclf.report import augmentation
from carclf.train_options import TrainOptions

MINIATURE = ("--backbone=tiny", "--weights=none", "--image_size=32", "--batch_size=4", "--epochs=2", "--steps=2")


def main() -> None:
    paths, shared, how = json.loads(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
    draw = augmentation.draw_recipe
    augmentation.draw_recipe = lambda *given, settings, **more: draw(
        *given, settings=dataclasses.replace(settings, draws=2), **more
    )
    # Without tracing seconds become tenths; what is trained is the same.
    tf.config.run_functions_eagerly(how == "eagerly")
    results = {}
    for path in paths:
        try:
            options = parse_command_line(TrainOptions, [f"--flagfile={path}", *MINIATURE, *shared], description="")
            results[path] = str(train.main(options))
        except Exception:
            results[path] = traceback.format_exc()
    print(json.dumps(results))


main()
