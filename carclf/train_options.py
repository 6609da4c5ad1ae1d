"""The options of training, which every run stores in its stage.json and later commands read."""

import dataclasses
from collections.abc import Callable

from carclf.errors import UserError
from carclf.flags import Options, option, refuse
from carclf.framing import PADDING_MODES, RENDER_METHODS, RESIZE_MODES, PaddingMode, parse_image_sizes
from carclf.tables import load

# The stored value of --val_fold=all.
ALL_FOLDS = -1
LARGEST_SEED = 2**32 - 1  # in Keras


def parse_profile_steps(text: str) -> tuple[int, int] | None:
    """Returns (first, last) for a text such as '10,20', steps counted from 1; None for an empty text.

    Raises:
      UserError: the text has another form.
    """
    if not text:
        return None
    numbers = text.split(",")
    if not (
        len(numbers) == 2 and all(number.isdecimal() for number in numbers) and 1 <= int(numbers[0]) <= int(numbers[1])
    ):
        raise UserError(f"--profile_steps={text} is not a pair of steps: write the first and the last, such as 10,20.")
    return int(numbers[0]), int(numbers[1])


def _grows(options: "TrainOptions") -> bool:
    first_size, last_size = parse_image_sizes(options.image_size)
    return first_size != last_size


def _has_hidden_layer(options: "TrainOptions") -> bool:
    return bool(load("carclf.model.heads:find_head")(options.head).hidden)


def _learns(options: "TrainOptions") -> bool:
    return options.unfreeze != "head"


def _keeps_features(options: "TrainOptions") -> bool:
    return bool(load("carclf.training.feature_plan:keeps_features")(options))


# What the curve of each schedule depends on.
SCHEDULED = {
    "lr_decay": ("exponential", "step", "plateau", "cyclic_exp_range"),
    "lr_period": ("step", "plateau", "cyclic_triangular", "cyclic_triangular2", "cyclic_exp_range"),
    "lr_floor": ("cosine", "plateau", "cyclic_triangular", "cyclic_triangular2", "cyclic_exp_range"),
}


def _scheduled(name: str) -> Callable[["TrainOptions"], bool]:
    return lambda options: options.schedule in SCHEDULED[name]


_DATA, _PLAN = "Data and run", "Plan"
_IMAGES, _MODEL, _OPTIMISATION, _DEVICE = "Images", "Model", "Optimisation", "Device"


@dataclasses.dataclass(frozen=True)
class TrainOptions(Options):
    """Every option of `python -m carclf.train`: one stage, or several by name."""

    data: str = option(
        "",
        "Data set: a folder that carclf.make_tfrecords wrote.",
        group=_DATA,
        path=True,
        urls=True,
        changes_result=False,
    )
    run: str = option(
        "", "Folder of this run, or a bare name inside --runs.", group=_DATA, path=True, urls=True, changes_result=False
    )
    runs: str = option(
        "runs",
        "Folder in which bare run names are looked up and created.",
        group=_DATA,
        path=True,
        urls=True,
        changes_result=False,
    )
    stages: str = option(
        "",
        "Train these stages one after the other: names of stages or paths of .flags files, separated by commas.",
        group=_DATA,
        changes_result=False,
    )
    init_from: str = option(
        "", "Start from the best weights of this run.", group=_DATA, path=True, urls=True, sets_start=True
    )
    allow_split_change: bool = option(
        False,
        "Allow starting from a run that has trained on photos of this stage's validation fold.",
        only_with=("--init_from", lambda options: bool(options.init_from)),
        group=_DATA,
        sets_start=True,
    )
    plan: bool = option(
        False,
        "Do not train: time backbones and image sizes on this machine, and write stages that fit --budget.",
        group=_PLAN,
        changes_result=False,
        since="0.2",
    )
    budget: str = option(
        "",
        "With --plan: time for training and prediction, such as 9h, 90m, 1h30m or 45s.",
        check="carclf.planning.budget:parse_budget",
        group=_PLAN,
        changes_result=False,
        since="0.2",
    )
    plan_output: str = option(
        "plans",
        "With --plan: folder for the flag files.",
        only_with=("--plan", lambda options: options.plan),
        group=_PLAN,
        path=True,
        changes_result=False,
        since="0.2",
    )
    find_lr: bool = option(
        False,
        "Do not train: run a learning-rate range test, plot the loss over rising rates and suggest a rate.",
        group=_DATA,
    )
    overwrite: bool = option(
        False, "Train again if the folder already holds a run, and replace it.", group=_DATA, changes_result=False
    )
    resume: bool = option(True, "Resume an unfinished run of the same stage.", group=_DATA, changes_result=False)
    resume_from: str = option(
        "",
        "Resume from a copy of a run, such as that of a lost session; the copy is only read.",
        group=_DATA,
        path=True,
        urls=True,
        changes_result=False,
    )
    save_every: int = option(
        200,
        "Steps between two checkpoints; 0 saves only at the end of each epoch.",
        low=0,
        group=_DATA,
        changes_result=False,
    )
    tensorboard: bool = option(
        True, "Write the metrics of each epoch to tensorboard/ in the run's folder.", group=_DATA, changes_result=False
    )
    profile_steps: str = option(
        "",
        "Steps to profile, counted from this start: FIRST,LAST, such as 10,20.",
        check="carclf.train_options:parse_profile_steps",
        group=_DATA,
        changes_result=False,
    )
    val_fold: int = option(
        0,
        "Fold held out for validation; all trains a run for each fold, RUN/fold0 and so on, one after the other.",
        low=0,
        words={"all": ALL_FOLDS},
        group=_DATA,
    )
    label_patch: str = option(
        "",
        "CSV of corrected labels (id,class), as written by carclf.evaluate; the run keeps a copy.",
        group=_DATA,
        path=True,
        urls=True,
    )
    pseudo_labels: str = option(
        "",
        "CSV of predicted labels of test photos, as written by carclf.predict, to train on as well, each weighted by "
        "its confidence; the run keeps a copy.",
        group=_DATA,
        path=True,
        urls=True,
        since="0.2",
    )
    seed: int = option(
        42,
        "Seed of the initial weights, the order of photos, augmentation and dropout.",
        low=0,
        high=LARGEST_SEED,
        group=_DATA,
    )

    image_size: str = option(
        "224",
        "Network input in pixels: 300, HEIGHTxWIDTH such as 384x512, or 224-512 for progressive resizing.",
        check="carclf.model.backbones:check_image_sizes",
        using=("backbone",),
        meaning="carclf.framing:parse_image_sizes",
        group=_IMAGES,
    )
    size_count: int = option(
        4,
        "With progressive resizing: number of sizes, each trained for the same number of epochs.",
        low=1,
        only_with=("two sizes, such as --image_size=160-224", _grows),
        group=_IMAGES,
    )
    scale_batch: bool = option(
        True,
        "With progressive resizing: use larger batches at smaller sizes, with as many pixels as a batch of the last "
        "size, and scale the learning rate to match.",
        only_with=("two sizes, such as --image_size=160-224", _grows),
        group=_IMAGES,
    )
    first_strength: float = option(
        1.0,
        "With progressive resizing: strength of --augment at the first size; it rises to 1 at the last.",
        low=0,
        high=1,
        only_with=("two sizes, such as --image_size=160-224", _grows),
        group=_IMAGES,
    )
    fit: str = option(
        "squash",
        "Resize mode, for photos whose shape differs from the image's: "
        + ", ".join(f"{name} ({mode.summary})" for name, mode in RESIZE_MODES.items())
        + ".",
        names="carclf.framing:RESIZE_MODES",
        group=_IMAGES,
    )
    fill: PaddingMode = option("edge", "Padding mode: what lies outside a photo.", choices=PADDING_MODES, group=_IMAGES)
    stretch: bool = option(
        False,
        "Stretch the values of each image to 0..255 before colour operations, as the 2020 notebook's library did.",
        group=_IMAGES,
    )
    render: str = option(
        "auto",
        "How photos are interpolated: gather, or separable (matrix products, for recipes without rotation, shear and "
        "perspective); auto uses separable on a TPU if the recipe allows it, otherwise gather.",
        choices=("auto", *RENDER_METHODS),
        group=_IMAGES,
        changes_result=False,
    )
    augment: str = option(
        "notebook",
        "Augmentation recipe, such as 'flip|rotate(10)|shift(0.1)|brightness(0.5,1.5)'.",
        names=("carclf.recipe.operations:RECIPES", "carclf.recipe.operations:NAMED_RECIPES"),
        check="carclf.recipe:parse_recipe",
        group=_IMAGES,
    )
    augment_validation: bool = option(False, "Validate on augmented photos, as the 2020 notebook did.", group=_IMAGES)
    cache: str = option(
        "none",
        "Keep decoded photos for later epochs if they fit: in memory, or in a folder that later runs use as well.",
        choices=("none", "ram"),
        path=True,
        group=_IMAGES,
        changes_result=False,
    )

    backbone: str = option(
        "efficientnet_b0",
        "Network below the classification head; other spellings such as b3 or EfficientNetB3 are understood, and "
        "hub:PRESET is a network of KerasHub.",
        names="carclf.model.backbones:BACKBONES",
        check="carclf.model.backbones:find_backbone",
        meaning="carclf.model.backbones:find_backbone",
        group=_MODEL,
    )
    weights: str = option(
        "imagenet",
        "Initial weights of the backbone, unless --init_from gives them: imagenet, none, or the path of a weights "
        "file; for hub:PRESET, the folder of the preset.",
        choices=("imagenet", "none"),
        path=True,
        sets_start=True,
        group=_MODEL,
    )
    head: str = option(
        "notebook",
        "Layers that follow the backbone; docs/stages.md describes each head.",
        names="carclf.model.heads:HEADS",
        since="0.2",
        group=_MODEL,
    )
    head_width: int = option(
        128,
        "Units of the head's hidden layer, if it has one.",
        low=1,
        only_with=("a hidden layer, such as that of --head=notebook", _has_hidden_layer),
        group=_MODEL,
    )
    dropout: float = option(0.25, "Dropout rate before the last layer.", low=0, below=1, group=_MODEL)
    head_momentum: float = option(
        0.0,
        "Momentum of the statistics of the head's BatchNorm; 0 means 0.99, and less with --init_from if an epoch has "
        "few steps.",
        low=0,
        below=1,
        since="0.2",
        only_with=("a hidden layer, such as that of --head=notebook", _has_hidden_layer),
        group=_MODEL,
    )
    head_temperature: float = option(
        0.0,
        "With --init_from: number that divides the logits of the parent's head before the first step, so that a sharp "
        "head does not distort the backbone when this begins to learn; 0 means 5 after a stage that trained only the "
        "head, otherwise 1.",
        low=0,
        since="0.2",
        only_with=("--init_from", lambda options: bool(options.init_from)),
        group=_MODEL,
    )
    l2: float = option(
        0.01,
        "L2 penalty on the head's hidden layer, if it has one.",
        low=0,
        only_with=("a hidden layer, such as that of --head=notebook", _has_hidden_layer),
        group=_MODEL,
    )
    unfreeze: str = option(
        "all",
        "Trainable part of the backbone: head (none of it), all, a fraction of its layers counted from the top, a "
        "block and all above it, or gradual(2) for one more block every 2 epochs.",
        check="carclf.model.unfreezing:check_unfreeze",
        using=("backbone",),
        group=_MODEL,
    )
    train_batch_norm: bool = option(
        False,
        "Also train the backbone's BatchNorm layers.",
        only_with=("a backbone that learns, as with --unfreeze=all", _learns),
        group=_MODEL,
    )
    keep_features: bool = option(
        True,
        "With --unfreeze=head, unless --augment mixes photos: compute the backbone's features of each photo and of one "
        "augmented view of it only once, and train the head on them.",
        since="0.2",
        group=_MODEL,
    )
    engine: str = option(
        "keras",
        "Engine that computes the kept features on a CPU; each needs the extra of its name.",
        names="carclf.engines.table:ENGINES",
        since="0.2",
        only_with=("kept features, as with --unfreeze=head where --augment mixes nothing", _keeps_features),
        group=_MODEL,
    )
    head_start: str = option(
        "auto",
        "How a head starts: random, or from a logistic regression on kept features; auto uses the regression if "
        "features are kept and --init_from gives no head.",
        choices=("auto", "random", "regression"),
        since="0.2",
        group=_MODEL,
    )
    feature_views: int = option(
        0,
        "With --unfreeze=head: number of augmented views per photo whose features are kept, instead of those of the "
        "photo and one view; 0 leaves it to --keep_features.",
        low=0,
        check="carclf.recipe.chain:check_feature_views",
        using=("augment",),
        group=_MODEL,
    )

    batch_size: int = option(32, "Photos per step, on all devices together.", low=1, group=_OPTIMISATION)
    epochs: int = option(10, "Maximum number of epochs.", low=1, group=_OPTIMISATION)
    steps: int = option(0, "Steps per epoch; 0 uses the whole training set.", low=0, group=_OPTIMISATION)
    metric: str = option(
        "auto",
        "Metric that decides on the best weights, patience, plateau, SWA and a search; auto depends on the form of the "
        "answers: accuracy for labels, log_loss for probabilities, map@k for rankings. The k in a name is a number: "
        "map@5, top-3.",
        names="carclf.metrics.table:METRICS",
        check="carclf.metrics:check_metric",
        since="0.2",
        group=_OPTIMISATION,
    )
    patience: int = option(
        5,
        "Stop early after this many epochs without a better --metric; 0 never does.",
        low=0,
        group=_OPTIMISATION,
    )
    optimizer: str = option("adam", "Keras optimizer.", names="carclf.model.optimizers:OPTIMIZERS", group=_OPTIMISATION)
    amsgrad: bool = option(
        False,
        "Use the AMSGrad variant of the optimizer, if it has one.",
        check="carclf.model.optimizers:check_amsgrad",
        using=("optimizer",),
        group=_OPTIMISATION,
    )
    weight_decay: float = option(
        0.0, "Decoupled weight decay; 0 means the optimizer's default.", low=0, group=_OPTIMISATION
    )
    clip_norm: float = option(
        0.0,
        "Largest global norm of the gradient, above which it is clipped; 0 means no clipping.",
        low=0,
        group=_OPTIMISATION,
    )
    accumulation_steps: int = option(
        1, "Gradient accumulation: number of batches per update of the weights.", low=1, group=_OPTIMISATION
    )
    loss: str = option("cross_entropy", "Loss function.", names="carclf.model.losses:LOSSES", group=_OPTIMISATION)
    focal_gamma: float = option(
        2.0,
        "Exponent of the focal loss.",
        low=0,
        only_with=("--loss=focal", lambda options: options.loss == "focal"),
        group=_OPTIMISATION,
    )
    class_weights: str = option(
        "none",
        "Class weights: none, balanced, or NAME:WEIGHT,NAME:WEIGHT, where classes that are not named have weight 1.",
        check="carclf.model.class_weights:check_class_weights",
        group=_OPTIMISATION,
    )
    swa_epochs: int = option(
        0,
        "Stochastic weight averaging (SWA): number of last epochs whose weights are averaged; the average is kept if "
        "it is no worse in validation.",
        low=0,
        group=_OPTIMISATION,
    )
    label_smoothing: float = option(
        0.0, "Fraction of each target that is spread over all classes.", low=0, below=1, group=_OPTIMISATION
    )
    ema_momentum: float = option(
        0.0,
        "Momentum, such as 0.999, of an exponential moving average (EMA) of the weights, which is then validated and "
        "kept; 0 means none.",
        low=0,
        below=1,
        group=_OPTIMISATION,
    )
    learning_rate: float = option(1e-3, "Highest learning rate of the schedule.", above=0, group=_OPTIMISATION)
    schedule: str = option(
        "exponential",
        "Learning-rate schedule.",
        names="carclf.model.schedules:SCHEDULES",
        check="carclf.model.schedules:check_schedule",
        using=("epochs", "warmup_epochs"),
        group=_OPTIMISATION,
    )
    lr_decay: float = option(
        0.9,
        "Factor of the learning rate per epoch (exponential, cyclic_exp_range), per period (step) or per drop "
        "(plateau).",
        above=0,
        high=1,
        only_with=("--schedule=exponential, step, plateau or cyclic_exp_range", _scheduled("lr_decay")),
        group=_OPTIMISATION,
    )
    lr_period: float = option(
        2.0,
        "Epochs between two drops (step), epochs without progress before a drop (plateau), or epochs per half cycle "
        "(cyclic_*).",
        above=0,
        only_with=("--schedule=step, plateau or cyclic_*", _scheduled("lr_period")),
        group=_OPTIMISATION,
    )
    lr_floor: float = option(
        0.0,
        "Lowest rate of cosine, plateau and cyclic_*, as a fraction of --learning_rate.",
        low=0,
        high=1,
        only_with=("--schedule=cosine, plateau or cyclic_*", _scheduled("lr_floor")),
        group=_OPTIMISATION,
    )
    lr_decay_by_block: float = option(
        1.0,
        "Layer-wise learning rates: factor between the rate of a block of the backbone and that of the block below it.",
        above=0,
        high=1,
        only_with=("a backbone that learns, as with --unfreeze=all", _learns),
        group=_OPTIMISATION,
    )
    warmup_epochs: float = option(0.0, "Epochs of linear warm-up.", low=0, group=_OPTIMISATION)

    device: str = option(
        "auto",
        "Where to compute; auto uses a TPU if there is one, otherwise all GPUs, otherwise the CPU.",
        names="carclf.device:DEVICES",
        group=_DEVICE,
        changes_result=False,
    )
    precision: str = option(
        "auto",
        "Number format of the computation; auto is 16 bits on GPUs and TPUs, float32 on the CPU.",
        names="carclf.device:PRECISIONS",
        group=_DEVICE,
    )
    cpu_devices: int = option(
        1,
        "Number of virtual devices that the CPU is split into, to rehearse training on several.",
        low=1,
        group=_DEVICE,
        changes_result=False,
    )
    num_hosts: int = option(
        1,
        "Number of machines that train together (Keras on JAX); each runs the same command.",
        low=1,
        group=_DEVICE,
        changes_result=False,
    )
    host: int = option(
        0,
        "With several hosts: number of this one, from 0; host 0 writes the run.",
        low=0,
        group=_DEVICE,
        changes_result=False,
    )
    coordinator: str = option(
        "",
        "With several hosts: ADDRESS:PORT at which the others reach host 0.",
        only_with=("--num_hosts of more than one", lambda options: options.num_hosts > 1),
        group=_DEVICE,
        changes_result=False,
    )

    @property
    def is_shared(self) -> bool:
        """Whether they are those of several stages, or of a plan that chooses among stages."""
        return bool(self.stages) or self.plan

    def __post_init__(self) -> None:
        """Checks each option, then the rules between options."""
        super().__post_init__()
        if self.plan and not self.budget:
            raise UserError("--budget is missing: say how much time --plan may use, such as --budget=9h.")
        refuse(bool(self.budget) and not self.plan, "budget", self.budget, "it needs --plan")
        first_size, last_size = parse_image_sizes(self.image_size)
        refuse(self.swa_epochs > self.epochs, "swa_epochs", self.swa_epochs, f"--epochs={self.epochs} is less")
        averages = self.swa_epochs > 0 and self.ema_momentum > 0
        refuse(averages, "swa_epochs", self.swa_epochs, "--ema_momentum averages already: leave one of them out")
        self._check_features(one_size=first_size == last_size)
        refuse(not 0 <= self.host < self.num_hosts, "host", self.host, f"it must be below --num_hosts={self.num_hosts}")
        if self.num_hosts > 1:
            refuse(not self.coordinator, "num_hosts", self.num_hosts, "--coordinator must say where host 0 is reached")
            for name in ("find_lr", "feature_views", "swa_epochs"):
                refuse(
                    bool(getattr(self, name)), name, getattr(self, name), "it needs a single host: do it there first"
                )
            refuse(first_size != last_size, "num_hosts", self.num_hosts, "it needs a single --image_size")
        if self.resume_from:
            refuse(self.overwrite or not self.resume, "resume_from", self.resume_from, "the run would start again")
            refuse(bool(self.stages), "resume_from", self.resume_from, "it needs a single stage: use --stage=NAME")

    def _check_features(self, *, one_size: bool) -> None:
        """Checks that features can be kept where the options ask for what is done with them."""
        if self.head_start == "regression":
            kept = self.feature_views or self.keep_features
            needs = "it needs --unfreeze=head, and kept features: --keep_features or --feature_views"
            refuse(self.unfreeze != "head" or not kept, "head_start", "regression", needs)
            mixes = load("carclf.recipe:parse_recipe")(self.augment).mixes
            refuse(mixes, "head_start", "regression", "--augment mixes photos, and a regression needs single ones")
            refuse(self.augment_validation, "head_start", "regression", "it does not work with --augment_validation")
            refuse(not one_size, "head_start", "regression", "it needs a single --image_size")
            refuse(self.num_hosts > 1, "head_start", "regression", "it needs a single host: do it there first")
        if self.feature_views:
            refuse(self.unfreeze != "head", "feature_views", self.feature_views, "it needs --unfreeze=head")
            refuse(
                self.augment_validation,
                "feature_views",
                self.feature_views,
                "it does not work with --augment_validation",
            )
            refuse(not one_size, "feature_views", self.feature_views, "it needs a single --image_size")
