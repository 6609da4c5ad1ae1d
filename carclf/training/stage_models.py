"""The models of a stage: the classifier, and the training model around it, compiled for the stage's device."""

import functools

import keras

from carclf.device import Device
from carclf.framing import Framing, Rendering
from carclf.metrics import Metric
from carclf.model.classifier import build_classifier, set_trainable, synchronize_batch_norm
from carclf.model.losses import build_loss
from carclf.model.optimizers import build_optimizer
from carclf.model.photo_classifier import build_photo_classifier
from carclf.model.score import Score
from carclf.model.unfreezing import learning_factors
from carclf.model.weights import load_weights_file
from carclf.progress import Progress
from carclf.training.features import build_head_model
from carclf.training.phases import optimizer_step
from carclf.training.stage import Stage


def make_models(stage: Stage) -> tuple[keras.Model, keras.Model]:
    """Returns the classifier and the photo classifier around it, ready for `fit` on the stage's device."""
    options = stage.options
    with stage.device.scope():
        classifier = _make_classifier(stage)
        model = build_training_model(
            classifier,
            framing=stage.framing,
            rendering=stage.rendering,
            optimizer=_make_optimizer(stage, classifier),
            loss=build_loss(options.loss, focal_gamma=options.focal_gamma),
            metric=stage.metric,
            device=stage.device,
        )
    return classifier, model


def make_head(stage: Stage, classifier: keras.Model) -> keras.Model:
    """Returns the classifier's head, ready for `fit` on features; it shares the classifier's variables."""
    options = stage.options
    with stage.device.scope():
        head = build_head_model(classifier)
        compile_model(
            head,
            optimizer=_make_optimizer(stage, classifier),
            loss=build_loss(options.loss, focal_gamma=options.focal_gamma),
            metric=stage.metric,
            device=stage.device,
        )
    return head


def _make_classifier(stage: Stage) -> keras.Model:
    """Returns the classifier with its initial weights: the parent's best, or the backbone's own.

    After the first phase they are random, since the weights of the previous phase replace them.
    """
    options, is_first = stage.options, stage.phase.first_epoch == 0
    parent = stage.parent if is_first else None
    keras.utils.set_random_seed(options.seed)
    with Progress(f"Building {options.backbone}"):
        classifier = build_classifier(
            backbone=options.backbone,
            weights=options.weights if is_first and not parent else "none",
            class_count=stage.manifest.class_count,
            image_size=stage.framing.image_size,
            head=options.head,
            head_width=options.head_width,
            dropout=options.dropout,
            l2=options.l2,
            preset=stage.preset,
        )
        for norm in (layer for layer in classifier.layers if layer.name == "head_norm"):
            norm.momentum = stage.head_momentum
        if parent:
            load_weights_file(classifier, parent.best_weights, model_name=f"the classifier of {parent.directory}")
    summary = set_trainable(classifier, unfreeze=options.unfreeze, train_batch_norm=options.train_batch_norm)
    height, width = stage.phase.image_size
    print(f"Model: {options.backbone} at {height}x{width} px, {summary}.")
    return classifier


def _make_optimizer(stage: Stage, classifier: keras.Model) -> keras.optimizers.Optimizer:
    """Returns a new optimizer; with `--find_lr`, one whose learning rate can be set."""
    options = stage.options
    return build_optimizer(
        options.optimizer,
        schedule=options.learning_rate if options.find_lr else stage.schedule,
        amsgrad=options.amsgrad,
        weight_decay=options.weight_decay,
        clip_norm=options.clip_norm,
        ema_momentum=options.ema_momentum,
        accumulation_steps=options.accumulation_steps,
        factors=learning_factors(
            classifier,
            unfreeze=options.unfreeze,
            step_at=functools.partial(optimizer_step, stage.phases),
            lr_decay_by_block=options.lr_decay_by_block,
        ),
        replicas=stage.device.replicas,
        fused=stage.device.fuses_steps,
    )


def build_training_model(
    classifier: keras.Model,
    *,
    framing: Framing,
    rendering: Rendering,
    optimizer: keras.optimizers.Optimizer,
    loss: keras.losses.Loss | None = None,
    metric: Metric | None = None,
    device: Device,
) -> keras.Model:
    """Returns the photo classifier, compiled for this device. Call it inside `device.scope()`.

    The loss is plain cross-entropy unless another is given: smoothing and mixing are in the target, class weights in
    the sample weight.
    """
    if device.replicas > 1:
        synchronize_batch_norm(classifier)
    model = build_photo_classifier(classifier, framing=framing, rendering=rendering)
    compile_model(model, optimizer=optimizer, loss=loss, metric=metric, device=device)
    return model


def compile_model(
    model: keras.Model,
    *,
    optimizer: keras.optimizers.Optimizer,
    loss: keras.losses.Loss | None = None,
    metric: Metric | None = None,
    device: Device,
) -> None:
    """Compiles a model that ends in logits, with the metrics of every stage, and with `metric` if it is another."""
    own = [Score(metric.name, class_count=model.output_shape[-1])] if metric and metric.log == "score" else []
    model.compile(
        optimizer=optimizer,
        loss=loss or keras.losses.CategoricalCrossentropy(from_logits=True),
        # Weighted, so that the empty photos that pad the last validation batch do not count. Keras's own val_loss
        # includes them and the weight penalty, so history and best weights use cross_entropy.
        weighted_metrics=[
            keras.metrics.CategoricalAccuracy(name="accuracy"),
            keras.metrics.CategoricalCrossentropy(from_logits=True, name="cross_entropy"),
            *own,
        ],
        jit_compile=device.jit,
    )
    _create_variables(model)


def _create_variables(model: keras.Model) -> None:
    """Creates the variables of optimizer and metrics, which Keras leaves to the first train step.

    TensorFlow traces a step that creates variables twice: this saves a third of the time until the first step ends.
    """
    model.optimizer.build(model.trainable_variables)
    empty = keras.ops.zeros((1, model.output_shape[-1]))
    model.compute_metrics(x=None, y=empty, y_pred=empty, sample_weight=keras.ops.zeros((1,)))
    model.reset_metrics()
