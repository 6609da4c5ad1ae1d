"""Run by test_tpu_fitness.py: lowers a stage's programs for eight TPU cores without compiling; describes each.

Eight virtual CPUs stand for the cores: lowering for a platform does not depend on the machine.
"""

import dataclasses
import functools
import json
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import keras
import numpy as np

from carclf import command
from carclf.data.decoder import decode_sizes
from carclf.device import Device
from carclf.framing import Framing, Rendering, parse_image_size
from carclf.model import separable
from carclf.model.classifier import build_classifier, set_trainable
from carclf.model.losses import build_loss
from carclf.model.optimizers import build_optimizer
from carclf.model.photo_classifier import build_photo_classifier, view_inputs
from carclf.model.schedules import build_schedule
from carclf.model.unfreezing import learning_factors
from carclf.recipe import DRAW_SHAPES, parse_recipe, parse_views
from carclf.train_options import TrainOptions
from carclf.training.stage_models import build_training_model

CORES, CLASSES, STEPS = 8, 10, 100
PHOTO_SIZES = np.array([[480, 640], [640, 480]])
VIEWS = ("clean|flip|zoom(1.1)", "random(10)")


def zeros(variable: keras.Variable, initializer: Callable[..., Any]) -> None:
    """Replaces the initializer, for which JAX would compile a program per shape."""
    variable._initialize(np.zeros(variable._shape, variable._dtype))


def abstract(values: Any) -> Any:
    """Returns the shape and dtype of every variable's value, replicated on all cores."""
    return jax.tree.map(lambda v: jax.ShapeDtypeStruct(v.shape, v.dtype, sharding=v.sharding), values)


def inputs(*, batch_size: int, canvas_size: tuple[int, int]) -> dict[str, jax.ShapeDtypeStruct]:
    shapes = DRAW_SHAPES | {"extent": (2,)}
    floats = {name: shared((batch_size, *shape), np.float32) for name, shape in shapes.items()}
    return {"canvas": shared((batch_size, *canvas_size, 3), np.uint8)} | floats


def shared(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    """Returns a batch that is split among the cores."""
    layout = keras.distribution.distribution().get_data_layout(shape).backend_layout
    return jax.ShapeDtypeStruct(shape, dtype, sharding=layout)


def values(*groups: Any) -> tuple[list[Any], ...]:
    return tuple([variable.value for variable in group] for group in groups)


def programs(options: TrainOptions) -> Iterator[tuple[str, Callable[..., Any], tuple[Any, ...]]]:
    """Yields name, function and arguments of the train and evaluation steps, and of axis-aligned and other views."""
    image_size = parse_image_size(options.image_size)
    framing = Framing(image_size)
    rendering = Rendering(fill=options.fill, stretch=options.stretch)
    recipe = parse_recipe(options.augment)
    batch_size = -(-options.batch_size // (2 * CORES)) * 2 * CORES
    classifier = build_classifier(
        backbone=options.backbone, weights="none", class_count=CLASSES, image_size=image_size,
        head_width=options.head_width, dropout=options.dropout, l2=options.l2,
    )  # fmt: skip
    set_trainable(classifier, unfreeze=options.unfreeze, train_batch_norm=options.train_batch_norm)
    schedule = build_schedule(
        options.schedule, learning_rate=options.learning_rate, steps_per_epoch=STEPS, epochs=options.epochs
    )
    factors = learning_factors(
        classifier,
        unfreeze=options.unfreeze,
        step_at=lambda epoch: round(epoch * STEPS),
        lr_decay_by_block=options.lr_decay_by_block,
    )
    model = build_training_model(
        classifier,
        framing=framing,
        rendering=recipe.fitted(
            dataclasses.replace(
                rendering, method=separable.choose_method(options.render, not_axis_aligned=recipe.not_axis_aligned)
            )
        ),
        optimizer=build_optimizer(
            options.optimizer, schedule=schedule, amsgrad=options.amsgrad, weight_decay=options.weight_decay,
            clip_norm=options.clip_norm, ema_momentum=options.ema_momentum,
            accumulation_steps=options.accumulation_steps, factors=factors, replicas=CORES,
        ),
        loss=build_loss(options.loss, focal_gamma=options.focal_gamma),
        device=Device(kind="tpu", backend="jax", replicas=CORES, precision="mixed_bfloat16", jit=True),
    )  # fmt: skip
    photos = inputs(batch_size=batch_size, canvas_size=decode_sizes(PHOTO_SIZES, framing=framing).canvas_size)
    batch = (photos, shared((batch_size, CLASSES), np.float32), shared((batch_size,), np.float32))
    weights = values(model.trainable_variables, model.non_trainable_variables)
    optimizer, metrics = values(model.optimizer.variables, model.metrics_variables)
    yield "train step", model.train_step, (abstract((*weights, optimizer, metrics)), batch)
    yield "evaluation step", model.test_step, (abstract((*weights, metrics)), batch)
    for text in VIEWS:
        views = parse_views(text)
        not_axis_aligned = [view.name for view in views if not view.axis_aligned]
        predictor = build_photo_classifier(
            classifier, framing=framing,
            rendering=dataclasses.replace(
                rendering, method=separable.choose_method("auto", not_axis_aligned=not_axis_aligned),
                affine=all(view.affine for view in views), per_channel=all(view.per_channel for view in views),
            ),
        )  # fmt: skip
        state = abstract(values(predictor.trainable_variables, predictor.non_trainable_variables))
        draws = {name: shared((batch_size, len(views), *shape), np.float32) for name, shape in DRAW_SHAPES.items()}
        arguments = (*state, photos, draws, jax.ShapeDtypeStruct((), np.int32))
        yield f"prediction in {text}", functools.partial(one_view, predictor), arguments


def one_view(model: keras.Model, trainable: Any, frozen: Any, photos: Any, draws: Any, view: Any) -> Any:
    """Computes what `carclf.inference.programs.Program` compiles on JAX."""
    return model.stateless_call(trainable, frozen, view_inputs(photos, draws, view), training=False)[0]


def describe(function: Callable[..., Any], arguments: tuple[Any, ...]) -> dict[str, Any]:
    """Returns facts about the program, lowered for a TPU; lowering raises if a TPU does not support an operation."""
    exported = jax.export.export(jax.jit(function), platforms=["tpu"])(*arguments)
    text = exported.mlir_module()
    return {
        "operations": sorted(set(re.findall(r"(?m)(?:= |^\s+)\"?((?:stablehlo|chlo|mhlo)\.\w+)", text))),
        "calls": sorted(set(re.findall(r"custom_call @([\w.]+)", text))),
        "types": sorted({entry.split("x")[-1] for entry in re.findall(r"tensor<([^>]*)>", text)}),
        "dynamic": len(re.findall(r"tensor<(?:\d+x)*\?", text)),
        "effects": len(exported.ordered_effects) + len(exported.unordered_effects),
        "products": sorted(set(re.findall(r"dot_general.*precision = \[(\w+), \w+\]", text))),
        "devices": exported.nr_devices,
    }


def main() -> None:
    keras.Variable._initialize_with_initializer = zeros
    separable.platform = lambda: "tpu"
    keras.config.set_dtype_policy("mixed_bfloat16")
    devices = keras.distribution.list_devices()
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False))
    for arguments in json.loads(sys.argv[1]):
        options = command.parse_command_line(TrainOptions, arguments, description="")
        for name, function, shapes in programs(options):
            print(json.dumps({"run": options.run, "program": name} | describe(function, shapes)), flush=True)
        keras.backend.clear_session()


main()
