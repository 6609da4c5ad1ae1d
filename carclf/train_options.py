"""The options of training, which every run keeps in its stage.json and which later commands read back."""

import dataclasses
import difflib

from carclf.errors import UserError
from carclf.flags import option, refuse
from carclf.framing import FILLS, RENDER_METHODS, Fill

CACHES = ("none", "ram")  # what --cache may be besides a folder
# What --val_fold=all is kept as.
ALL_FOLDS = -1


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
            refuse(getattr(self, name) < 1, name, getattr(self, name), "it must be at least 1")
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
            refuse(getattr(self, name) < 0, name, getattr(self, name), "it must be 0 or more")
        if self.cache not in CACHES and "/" not in self.cache:
            for word in difflib.get_close_matches(self.cache.lower(), CACHES, n=1):
                raise UserError(f"--cache={self.cache}: did you mean {word}? A folder of that name is ./{self.cache}.")
        refuse(self.val_fold < ALL_FOLDS, "val_fold", self.val_fold, "it must be 0 or more, or all")
        for name in ("dropout", "label_smoothing", "ema_momentum"):
            refuse(not 0 <= getattr(self, name) < 1, name, getattr(self, name), "it must lie in [0, 1)")
        refuse(not 0 <= self.first_strength <= 1, "first_strength", self.first_strength, "it must lie in [0, 1]")
        refuse(not self.learning_rate > 0, "learning_rate", self.learning_rate, "it must be above 0")
        refuse(not 0 < self.lr_decay <= 1, "lr_decay", self.lr_decay, "it must lie in (0, 1]")
        refuse(self.swa_epochs > self.epochs, "swa_epochs", self.swa_epochs, f"there are {self.epochs} epochs")
        refuse(self.swa_epochs > 0 and self.ema_momentum > 0, "swa_epochs", self.swa_epochs, "--ema_momentum averages")
        if self.feature_views:
            refuse(self.unfreeze != "head", "feature_views", self.feature_views, "it is for --unfreeze=head")
            refuse(self.augment_validation, "feature_views", self.feature_views, "validation would be augmented")
            refuse(first_size != last_size, "feature_views", self.feature_views, "--image_size grows")
        refuse(not 0 <= self.host < self.num_hosts, "host", self.host, f"there are {self.num_hosts} hosts, from 0")
        if self.num_hosts > 1:
            refuse(not self.coordinator, "num_hosts", self.num_hosts, "--coordinator says where host 0 is reached")
            for name in ("find_lr", "feature_views", "swa_epochs"):
                refuse(bool(getattr(self, name)), name, getattr(self, name), "it is for one host: do it there first")
            refuse(first_size != last_size, "num_hosts", self.num_hosts, f"--image_size={self.image_size} grows")
        if self.resume_from:
            refuse(self.overwrite or not self.resume, "resume_from", self.resume_from, "the run is to start anew")
            refuse(bool(self.stages), "resume_from", self.resume_from, "it is for one stage: use --stage=NAME")


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
