"""Every option once: a frozen dataclass field is the flag, its default, its help and its place in stage.json."""

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from absl import flags

from carclf.errors import UserError

T = TypeVar("T")
# What lies outside a photo: its edge pixel, its mirror image, or a constant.
Fill = Literal["edge", "reflect", "constant"]
FILLS: tuple[Fill, ...] = typing.get_args(Fill)
# How a photo is interpolated: its neighbours gathered, or by two matrix products.
RenderMethod = Literal["gather", "separable"]
RENDER_METHODS: tuple[RenderMethod, ...] = typing.get_args(RenderMethod)
CACHES = ("none", "ram")  # what --cache may be besides a folder
EXPORT_FORMATS = ("savedmodel", "onnx", "litert", "litert_int8")  # the rows of carclf.exporting.formats.FORMATS


# What --val_fold=all is kept as.
ALL_FOLDS = -1


def option(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] = (),
    words: Mapping[str, int] | None = None,
    group: str = "Options",
) -> Any:
    """A dataclass field that is also a flag.

    Args:
      default: the value without the flag; its annotation (str, int, float, bool, or a Literal of the choices) is the
        flag's type.
      help: one or two sentences for `--help`.
      choices: the allowed values of a string option; empty means any.
      words: what may be written in place of a number, and the number that it is kept as.
      group: the heading under which `--help` lists it.
    """
    return dataclasses.field(
        default=default, metadata={"help": help, "choices": choices, "words": words, "group": group}
    )


def define_flags(options: type) -> flags.FlagValues:
    """A flag registry of its own (nothing global) with one absl flag per field of the dataclass `options`."""
    values = flags.FlagValues()
    types = typing.get_type_hints(options)
    define: dict[type, Any] = {
        str: flags.DEFINE_string,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        bool: flags.DEFINE_boolean,
    }
    for field in dataclasses.fields(options):
        choices, words, text = (field.metadata[name] for name in ("choices", "words", "help"))
        if words:
            flags.DEFINE(_NumberOrWord(words), field.name, field.default, text, flag_values=values)
        elif choices:
            parser, serializer = _Choice(choices), flags.ArgumentSerializer()
            flags.DEFINE(parser, field.name, field.default, text, flag_values=values, serializer=serializer)
        else:
            define[types[field.name]](field.name, field.default, text, flag_values=values)
    return values


class _NumberOrWord(flags.IntegerParser):
    """Parses an integer, or a word that stands for one that is not written otherwise."""

    def __init__(self, words: Mapping[str, int]) -> None:
        super().__init__()
        self._words = words

    def convert(self, argument: int | str) -> int:
        if isinstance(argument, str) and argument in self._words:
            return self._words[argument]
        number: int = super().convert(argument)
        if number in self._words.values():
            raise ValueError(f"{argument} is neither a possible number nor {' or '.join(self._words)}")
        return number


class _Choice(flags.ArgumentParser):
    """Takes one of some words; of another it names the nearest, which absl's own enum does not."""

    def __init__(self, choices: tuple[str, ...]) -> None:
        self._choices = choices

    def parse(self, argument: str) -> str:
        if argument in self._choices:
            return argument
        near = difflib.get_close_matches(argument, self._choices, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"{hint}Known are {', '.join(self._choices)}")


def from_flags(options: type[T], values: flags.FlagValues) -> T:
    """The dataclass `options` filled from parsed flags.

    Raises:
      UserError: what `options.__post_init__` finds wrong.
    """
    return options(**{field.name: values[field.name].value for field in dataclasses.fields(options)})  # type: ignore[arg-type]


def to_dict(options: Any) -> dict[str, Any]:
    """The options as a JSON-ready mapping, every field included."""
    return dataclasses.asdict(options)


def from_dict(options: type[T], mapping: Mapping[str, Any]) -> T:
    """The dataclass `options` from what `to_dict` gave; a missing key takes its default.

    Raises:
      UserError: a key that no field has: the file is of a newer carclf.
    """
    names = {field.name for field in dataclasses.fields(options)}  # type: ignore[arg-type]
    if unknown := sorted(set(mapping) - names):
        raise UserError(
            f"The stored options hold {', '.join(unknown)}, which this version of carclf does not know: "
            "use the version that wrote them, or a newer one."
        )
    return options(**mapping)


def changed_options(options: Any) -> dict[str, Any]:
    """The fields that differ from their defaults: what a page about a run shows."""
    return {
        f.name: getattr(options, f.name) for f in dataclasses.fields(options) if getattr(options, f.name) != f.default
    }


def parse_image_size(text: str) -> tuple[int, int]:
    """(height, width) in pixels from '300' or '384x512' (height first); of a growing '224-512' the last one.

    Raises:
      UserError: as for `parse_image_sizes`.
    """
    return parse_image_sizes(text)[1]


def parse_image_sizes(text: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """The first and the last (height, width) of a stage in pixels: '300' and '384x512' stay, '224-512' grows.

    Raises:
      UserError: the text is none of these forms, a side is below 8 or above 4096, or one shrinks.
    """
    first, _, last = text.lower().partition("-")
    sizes = _image_size(first, text), _image_size(last or first, text)
    if "-" in text and not (last and sizes[0] != sizes[1] and all(a <= b for a, b in zip(*sizes, strict=True))):
        raise UserError(f"--image_size={text} does not grow: write the smaller size first, such as 224-512.")
    return sizes


def _image_size(text: str, whole: str) -> tuple[int, int]:
    sides = text.split("x")
    if len(sides) not in (1, 2) or not all(side.strip().isdecimal() for side in sides):
        raise UserError(
            f"--image_size={whole} is not a size: write 300, HEIGHTxWIDTH such as 384x512, or 224-512 to grow."
        )
    height, width = int(sides[0]), int(sides[-1])
    if not (8 <= height <= 4096 and 8 <= width <= 4096):
        raise UserError(f"--image_size={whole} is out of range: sides between 8 and 4096 pixels are possible.")
    return height, width


def parse_profile_steps(text: str) -> tuple[int, int] | None:
    """(first, last) of '10,20', steps counted from 1; None of an empty text.

    Raises:
      UserError: the text is anything else.
    """
    if not text:
        return None
    numbers = text.split(",")
    if not (
        len(numbers) == 2 and all(number.isdecimal() for number in numbers) and 1 <= int(numbers[0]) <= int(numbers[1])
    ):
        raise UserError(f"--profile_steps={text} is no pair of steps: write the first and the last, such as 10,20.")
    return int(numbers[0]), int(numbers[1])


def _refuse(condition: bool, name: str, value: object, rule: str) -> None:
    if condition:
        raise UserError(f"--{name}={value} is not possible: {rule}.")


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """Every option of `python -m carclf.train`: one stage, or several by name."""

    data: str = option("", "Folder that tools/make_tfrecords.py wrote.", group="Data and run")
    run: str = option("", "Folder of this run, or a bare name inside --runs.", group="Data and run")
    runs: str = option("runs", "Folder in which bare run names are looked up and made.", group="Data and run")
    stages: str = option(
        "", "Train these stages, one after the other: names of flag files, a,b,c.", group="Data and run"
    )
    init_from: str = option("", "Run whose best weights this stage starts from.", group="Data and run")
    allow_split_change: bool = option(
        False, "Start from a run that has trained on photos which validate this one.", group="Data and run"
    )
    find_lr: bool = option(
        False, "Do not train: try rising learning rates, draw the losses, suggest one.", group="Data and run"
    )
    overwrite: bool = option(False, "Train again where the run folder holds a run.", group="Data and run")
    resume: bool = option(True, "Go on where an unfinished run of the same stage was cut off.", group="Data and run")
    resume_from: str = option(
        "", "Go on from a copy of a lost session's run, which is only read.", group="Data and run"
    )
    save_every: int = option(
        200, "Steps between two checkpoints; 0 saves at the end of each epoch only.", group="Data and run"
    )
    tensorboard: bool = option(True, "Write each epoch's figures to tensorboard/ in the run.", group="Data and run")
    profile_steps: str = option(
        "", "Also a profile of these steps, FIRST,LAST such as 10,20, counted from this start.", group="Data and run"
    )
    val_fold: int = option(
        0,
        "The fold that is held out for validation; all trains a run for each fold, RUN/fold0 and so on, one after the "
        "other.",
        words={"all": ALL_FOLDS},
        group="Data and run",
    )
    label_patch: str = option(
        "",
        "CSV of corrected labels (id,class), such as carclf.evaluate writes; a copy stays in the run.",
        group="Data and run",
    )
    seed: int = option(42, "Seed of initial weights, order, augmentation and dropout.", group="Data and run")

    image_size: str = option(
        "224",
        "Network input in pixels: 300, HEIGHTxWIDTH such as 384x512, or 224-512, which grows over the epochs.",
        group="Images",
    )
    size_count: int = option(
        4, "With a growing --image_size: in so many sizes, each for as many epochs.", group="Images"
    )
    scale_batch: bool = option(
        True,
        "With a growing --image_size: a smaller size takes as many times --batch_size as have no more pixels than a "
        "batch of the last size, at a learning rate that fits.",
        group="Images",
    )
    first_strength: float = option(
        1.0,
        "With a growing --image_size: strength of --augment at the first size, from 0 to 1; at the last it is 1.",
        group="Images",
    )
    fit: str = option(
        "squash",
        "How a photo meets the image's shape: squashed, centre-cropped, or padded with its edge.",
        choices=("squash", "crop", "pad"),
        group="Images",
    )
    fill: Fill = option("edge", "What lies outside a photo.", choices=FILLS, group="Images")
    stretch: bool = option(
        False, "Map each image's values to 0..255 before colour, as the 2020 notebook's library did.", group="Images"
    )
    render: str = option(
        "auto",
        "How photos are interpolated: gather, or separable (matrix products, for recipes without rotation, shear and "
        "perspective); auto is separable on a TPU where the recipe allows it, else gather.",
        choices=("auto", *RENDER_METHODS),
        group="Images",
    )
    augment: str = option(
        "notebook", "Recipe such as 'flip|rotate(10)|shift(0.1)|brightness(0.5,1.5)'; none is none.", group="Images"
    )

    augment_validation: bool = option(False, "Validate on augmented photos, as the 2020 notebook did.", group="Images")
    cache: str = option(
        "none",
        "Keep decoded photos for the next epochs, if they fit: none, ram, or a folder that later runs use too.",
        group="Images",
    )

    backbone: str = option("efficientnet_b0", "A row of carclf.model.backbones.BACKBONES.", group="Model")
    weights: str = option("imagenet", "Backbone weights of a first stage: imagenet, none, or a file.", group="Model")
    head_width: int = option(128, "Width of the head's hidden layer.", group="Model")
    dropout: float = option(0.25, "Dropout before the last layer.", group="Model")
    l2: float = option(0.01, "L2 penalty on the head's hidden layer.", group="Model")
    unfreeze: str = option(
        "all",
        "What of the backbone learns: head (nothing), all, a fraction from the top, a block and all above it, or "
        "gradual(2), a block more every 2 epochs.",
        group="Model",
    )
    train_batch_norm: bool = option(False, "Also train the backbone's BatchNorm layers.", group="Model")
    feature_views: int = option(
        0, "With --unfreeze=head: keep what the backbone makes of so many draws, and train on that.", group="Model"
    )

    batch_size: int = option(32, "Photos a step over all devices.", group="Optimisation")
    epochs: int = option(10, "Epochs at the most.", group="Optimisation")
    steps: int = option(0, "Steps an epoch; 0 is the whole training set.", group="Optimisation")
    patience: int = option(5, "Epochs without a better val_accuracy before stopping; 0 never.", group="Optimisation")
    optimizer: str = option("adam", "adam, nadam, adamax, adamw or sgd.", group="Optimisation")
    amsgrad: bool = option(False, "AMSGrad, for the optimizers that have it.", group="Optimisation")
    weight_decay: float = option(0.0, "Decoupled weight decay.", group="Optimisation")
    clip_norm: float = option(0.0, "Clip the gradient's global norm; 0 never.", group="Optimisation")
    accumulation_steps: int = option(1, "Batches whose mean gradient makes one update.", group="Optimisation")
    loss: str = option("cross_entropy", "A row of carclf.model.losses.LOSSES.", group="Optimisation")
    focal_gamma: float = option(2.0, "Exponent of the focal loss.", group="Optimisation")
    class_weights: str = option(
        "none", "none, balanced, or NAME:WEIGHT,NAME:WEIGHT, in which an unnamed class has 1.", group="Optimisation"
    )
    swa_epochs: int = option(
        0, "Average the weights of so many last epochs; kept where they validate no worse.", group="Optimisation"
    )
    label_smoothing: float = option(0.0, "Share of each target spread over all classes.", group="Optimisation")
    ema_momentum: float = option(
        0.0,
        "Validate and keep an exponential average of the weights with this momentum, such as 0.999; 0 does not.",
        group="Optimisation",
    )
    learning_rate: float = option(1e-3, "The schedule's highest learning rate.", group="Optimisation")
    schedule: str = option("exponential", "A row of carclf.model.schedules.SCHEDULES.", group="Optimisation")
    lr_decay: float = option(
        0.9, "Factor an epoch (exponential), a period (step) or a drop (plateau).", group="Optimisation"
    )
    lr_period: float = option(
        2.0, "Epochs between drops (step), without progress (plateau), of half a cycle.", group="Optimisation"
    )
    lr_floor: float = option(
        0.0, "Low end of cosine, plateau and cycles, as a fraction of --learning_rate.", group="Optimisation"
    )
    lr_decay_by_block: float = option(
        1.0, "Factor of the learning rate from each block of the backbone to the one below.", group="Optimisation"
    )
    warmup_epochs: float = option(0.0, "Epochs of linear warm-up.", group="Optimisation")

    device: str = option(
        "auto",
        "auto takes a TPU, else every GPU, else the CPU.",
        choices=("auto", "cpu", "gpu", "mirrored", "tpu"),
        group="Device",
    )
    precision: str = option(
        "auto",
        "auto is 16 bits on GPU and TPU, float32 on the CPU.",
        choices=("auto", "float32", "mixed_bfloat16", "mixed_float16"),
        group="Device",
    )
    cpu_devices: int = option(1, "Split the CPU into so many devices, to rehearse several.", group="Device")
    num_hosts: int = option(
        1, "Machines that train together (Keras on JAX); each runs the same command.", group="Device"
    )
    host: int = option(0, "The number of this one among them, from 0; host 0 writes the run.", group="Device")
    coordinator: str = option("", "With several hosts: ADDRESS:PORT at which host 0 is reached.", group="Device")

    def __post_init__(self) -> None:
        """Refuses values that no part of the program could work with."""
        parse_profile_steps(self.profile_steps)
        first_size, last_size = parse_image_sizes(self.image_size)
        for name in (
            "batch_size",
            "epochs",
            "head_width",
            "cpu_devices",
            "accumulation_steps",
            "size_count",
            "num_hosts",
        ):
            _refuse(getattr(self, name) < 1, name, getattr(self, name), "it must be at least 1")
        for name in (
            "steps",
            "patience",
            "l2",
            "weight_decay",
            "clip_norm",
            "warmup_epochs",
            "seed",
            "save_every",
            "feature_views",
            "swa_epochs",
            "focal_gamma",
        ):
            _refuse(getattr(self, name) < 0, name, getattr(self, name), "it must be 0 or more")
        if self.cache not in CACHES and "/" not in self.cache:
            for word in difflib.get_close_matches(self.cache.lower(), CACHES, n=1):
                raise UserError(f"--cache={self.cache}: did you mean {word}? A folder of that name is ./{self.cache}.")
        _refuse(self.val_fold < ALL_FOLDS, "val_fold", self.val_fold, "it must be 0 or more, or all")
        for name in ("dropout", "label_smoothing", "ema_momentum"):
            _refuse(not 0 <= getattr(self, name) < 1, name, getattr(self, name), "it must lie in [0, 1)")
        _refuse(not 0 <= self.first_strength <= 1, "first_strength", self.first_strength, "it must lie in [0, 1]")
        _refuse(not self.learning_rate > 0, "learning_rate", self.learning_rate, "it must be above 0")
        _refuse(not 0 < self.lr_decay <= 1, "lr_decay", self.lr_decay, "it must lie in (0, 1]")
        _refuse(self.swa_epochs > self.epochs, "swa_epochs", self.swa_epochs, f"there are {self.epochs} epochs")
        _refuse(self.swa_epochs > 0 and self.ema_momentum > 0, "swa_epochs", self.swa_epochs, "--ema_momentum averages")
        if self.feature_views:
            _refuse(self.unfreeze != "head", "feature_views", self.feature_views, "it is for --unfreeze=head")
            _refuse(self.augment_validation, "feature_views", self.feature_views, "validation would be augmented")
            _refuse(first_size != last_size, "feature_views", self.feature_views, "--image_size grows")
        _refuse(not 0 <= self.host < self.num_hosts, "host", self.host, f"there are {self.num_hosts} hosts, from 0")
        if self.num_hosts > 1:
            _refuse(not self.coordinator, "num_hosts", self.num_hosts, "--coordinator says where host 0 is reached")
            for name in ("find_lr", "feature_views", "swa_epochs"):
                _refuse(bool(getattr(self, name)), name, getattr(self, name), "it is for one host: do it there first")
            _refuse(first_size != last_size, "num_hosts", self.num_hosts, f"--image_size={self.image_size} grows")
        if self.resume_from:
            _refuse(self.overwrite or not self.resume, "resume_from", self.resume_from, "the run is to start anew")
            _refuse(bool(self.stages), "resume_from", self.resume_from, "it is for one stage: use --stage=NAME")


TTA_HELP = (
    "Views to average: 'clean|flip|zoom(1.1)|five_crop', 'random(10)', other sizes 'size(448)|size(512)', "
    "with weights 'clean*2|flip'."
)
TTA_MEANS = ("probabilities", "logits")
TTA_MEAN_HELP = "What the mean over the views is taken of."
RUN_WEIGHTS_HELP = (
    "Weights of the runs in their mean, 0.5,0.3,0.2, or fitted: those with the least loss on the photos that "
    "the runs held out. Without it all count the same."
)


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """Every option of `python -m carclf.evaluate`."""

    run: str = option("", "Run, or several with commas (their probabilities are averaged).", group="Data and run")
    runs: str = option("runs", "Folder in which bare run names are looked up.", group="Data and run")
    data: str = option("", "Folder that tools/make_tfrecords.py wrote.", group="Data and run")
    tta: str = option("clean", TTA_HELP, group="Prediction")
    tta_mean: str = option("probabilities", TTA_MEAN_HELP, choices=TTA_MEANS, group="Prediction")
    run_weights: str = option("", RUN_WEIGHTS_HELP, group="Prediction")
    label_patch: str = option(
        "", "Labels to judge by; without it those that the runs were trained with.", group="Prediction"
    )
    batch_size: int = option(32, "Photos a step over all devices.", group="Prediction")
    device: str = option(
        "auto", "As in carclf.train.", choices=("auto", "cpu", "gpu", "mirrored", "tpu"), group="Device"
    )

    def __post_init__(self) -> None:
        """Refuses a call without what it needs."""
        _refuse(self.batch_size < 1, "batch_size", self.batch_size, "it must be at least 1")
        _require_flags(self, "run", "data")


@dataclasses.dataclass(frozen=True)
class PredictOptions:
    """Every option of `python -m carclf.predict`."""

    run: str = option("", "Run, or several with commas (their probabilities are averaged).", group="Data and run")
    runs: str = option("runs", "Folder in which bare run names are looked up.", group="Data and run")
    data: str = option("", "Folder that tools/make_tfrecords.py wrote.", group="Data and run")
    output: str = option("submission.csv", "The submission to write.", group="Data and run")
    split: str = option(
        "test",
        "The test photos, or val: the fold that the run held out.",
        choices=("test", "val"),
        group="Data and run",
    )
    sample: str = option("", "Sample submission to follow instead of the data set's own.", group="Data and run")
    probabilities: str = option(
        "", "Also write every probability to this file, .csv or .parquet.", group="Data and run"
    )
    compare: str = option(
        "", "An older submission: tells which photos changed, and draws them beside --output.", group="Data and run"
    )
    photo: str = option(
        "",
        "Photos or folders, with commas: prints their likeliest classes instead; needs no --data.",
        group="Data and run",
    )
    top: int = option(3, "With --photo: how many classes to print.", group="Data and run")
    tta: str = option("clean", TTA_HELP, group="Prediction")
    tta_mean: str = option("probabilities", TTA_MEAN_HELP, choices=TTA_MEANS, group="Prediction")
    run_weights: str = option("", RUN_WEIGHTS_HELP, group="Prediction")
    batch_size: int = option(32, "Photos a step over all devices.", group="Prediction")
    device: str = option(
        "auto", "As in carclf.train.", choices=("auto", "cpu", "gpu", "mirrored", "tpu"), group="Device"
    )

    def __post_init__(self) -> None:
        """Refuses a call without what it needs."""
        _refuse(self.batch_size < 1, "batch_size", self.batch_size, "it must be at least 1")
        _refuse(self.top < 1, "top", self.top, "it must be at least 1")
        if self.photo:
            _require_flags(self, "run")
            for name in ("data", "sample", "probabilities", "compare"):
                _refuse(bool(getattr(self, name)), name, getattr(self, name), "--photo predicts without a data set")
            _refuse(self.run_weights == "fitted", "run_weights", self.run_weights, "--photo has nothing to fit on")
            return
        _require_flags(self, "run", "data", "output")
        kinds = (".csv", ".parquet")
        named = not self.probabilities or self.probabilities.lower().endswith(kinds)
        _refuse(not named, "probabilities", self.probabilities, f"it must end with {' or '.join(kinds)}")


@dataclasses.dataclass(frozen=True)
class ExploreOptions:
    """Every option of `python -m carclf.explore`."""

    data: str = option("", "Folder that tools/make_tfrecords.py wrote.", group="Data")
    output: str = option(
        "",
        "The page (.html) to write or, with --augment, the picture (.png, .jpg, .svg or .pdf); eda.html or "
        "augmentation.png where none is given.",
        group="Data",
    )
    show: str = option("", "Ids of photos, with commas, to show at the top of the page.", group="Page")
    workers: int = option(0, "Processes that look at the photos; 0 is one a CPU.", group="Page")
    augment: str = option(
        "",
        "Draw this recipe instead of writing the page, as in carclf.train; all draws every operation there is, one a "
        "row, and prints how it is written.",
        group="Augmentation",
    )
    photos: int = option(4, "Photos drawn, of different classes; all draws one photo.", group="Augmentation")
    draws: int = option(8, "Draws of each photo, those of the first epochs.", group="Augmentation")
    seed: int = option(42, "Seed of the draws: a training of the same seed draws the same.", group="Augmentation")
    image_size: str = option("224", "As in carclf.train.", group="Images")
    fit: str = option("squash", "As in carclf.train.", choices=("squash", "crop", "pad"), group="Images")
    fill: Fill = option("edge", "As in carclf.train.", choices=FILLS, group="Images")

    def __post_init__(self) -> None:
        """Refuses a call without what it needs, and values that no page or picture could have."""
        _require_flags(self, "data")
        parse_image_size(self.image_size)
        _refuse(not 1 <= self.photos <= 32, "photos", self.photos, "it must be between 1 and 32")
        _refuse(not 1 <= self.draws <= 32, "draws", self.draws, "it must be between 1 and 32")
        _refuse(self.seed < 0, "seed", self.seed, "it must be 0 or more")
        _refuse(not 0 <= self.workers <= 1024, "workers", self.workers, "it must be between 0 and 1024")
        draws = bool(self.augment.strip())
        _refuse(draws and bool(self.show), "show", self.show, "it is for the page, which --augment does not write")
        if self.output:
            suffixes = (".png", ".jpg", ".svg", ".pdf") if draws else (".html",)
            named = self.output.lower().endswith(suffixes)
            rule = "--augment draws a picture" if draws else "the page is a file of HTML, and a picture wants --augment"
            _refuse(not named, "output", self.output, f"{rule}, so it must end with {' or '.join(suffixes)}")

    @property
    def output_path(self) -> Path:
        """The file to write."""
        return Path(self.output or ("augmentation.png" if self.augment.strip() else "eda.html")).expanduser()


@dataclasses.dataclass(frozen=True)
class TuneOptions(TrainOptions):
    """Every option of `python -m carclf.tune`: those of the search, and those that its trials have in common."""

    trials: int = option(0, "Trials wanted in the study, those of other processes included.", group="Search")
    output: str = option("", "Flag file to write the best trial to.", group="Search")
    study: str = option("", "Name of the study; none is that of --output.", group="Search")
    storage: str = option(
        "", "Database of the study, an SQLAlchemy URL; none is RUNS/STUDY_trials/study.db, SQLite.", group="Search"
    )
    space: str = option("", "File with the search space, an option a line; see docs/tuning.md.", group="Search")
    pruner: str = option(
        "median",
        "Which trials end early: those below the median of the others at the same epoch, Hyperband's, or none.",
        choices=("median", "hyperband", "none"),
        group="Search",
    )
    heartbeat_seconds: int = option(
        30, "Between two signs of life; a process that misses three is dead and its trial starts anew.", group="Search"
    )

    def __post_init__(self) -> None:
        """Refuses a call without what it needs."""
        super().__post_init__()
        _require_flags(self, "data", "output")
        for name in ("trials", "heartbeat_seconds"):
            _refuse(getattr(self, name) < 1, name, getattr(self, name), "it must be at least 1")
        for name in ("stages", "find_lr", "resume_from"):
            _refuse(bool(getattr(self, name)), name, getattr(self, name), "a trial trains one stage from its start")
        _refuse(self.val_fold == ALL_FOLDS, "val_fold", "all", "a trial is judged by one fold")
        _refuse(self.num_hosts > 1, "num_hosts", self.num_hosts, "a trial trains on one host; start more processes")


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """Every option of `python -m carclf.export`."""

    run: str = option("", "Run to export.", group="Data and run")
    runs: str = option("runs", "Folder in which bare run names are looked up.", group="Data and run")
    format: str = option(
        "onnx",
        "savedmodel (TensorFlow), onnx, litert (phones), or litert_int8, a quarter of its size.",
        choices=EXPORT_FORMATS,
        group="Export",
    )
    output: str = option("", "Folder to write: the model, labels.txt and README.md, the model card.", group="Export")
    overwrite: bool = option(False, "Replace the folder where it exists.", group="Export")
    data: str = option("", "Data set to check the export on; none is the run's own.", group="Check")
    photos: int = option(64, "Validation photos that it is checked on.", group="Check")

    def __post_init__(self) -> None:
        """Refuses a call without what it needs."""
        _require_flags(self, "run", "output")
        _refuse(self.photos < 1, "photos", self.photos, "an export is checked on at least 1")
        named = self.output.lower().endswith((".onnx", ".tflite", ".pb"))
        _refuse(named, "output", self.output, "it is a folder, in which the model lies beside labels.txt and README.md")


@dataclasses.dataclass(frozen=True)
class ServeOptions:
    """Every option of `python -m carclf.serve`."""

    run: str = option("", "Run, or several with commas (their probabilities are averaged).", group="Run")
    runs: str = option("runs", "Folder in which bare run names are looked up.", group="Run")
    host: str = option(
        "127.0.0.1", "Address to listen on; 0.0.0.0 lets the whole network in, without a password.", group="Server"
    )
    port: int = option(8080, "Port to listen on; 0 takes any that is free.", group="Server")
    max_mb: float = option(20.0, "Largest file that is taken, MB.", group="Server")
    device: str = option("auto", "As in carclf.train.", choices=("auto", "cpu", "gpu", "tpu"), group="Device")

    def __post_init__(self) -> None:
        """Refuses a call without what it needs."""
        _require_flags(self, "run", "host")
        _refuse(not 0 <= self.port <= 65535, "port", self.port, "ports are 0 to 65535")
        _refuse(not 0 < self.max_mb <= 1000, "max_mb", self.max_mb, "it must be above 0 and at most 1000")


def _require_flags(options: Any, *names: str) -> None:
    for name in names:
        if not getattr(options, name):
            raise UserError(f"--{name} is missing: see --help for what it takes.")
