"""The rows of the ledger."""

import dataclasses
import difflib
from collections.abc import Sequence

from carclf.errors import UserError

PROBE = "probe"  # no flag file: what carclf.probe writes
# Image sizes of the stages that do not have the ledger's own: {smaller} has two thirds of its pixels a side, {finer}
# nine sevenths.
STAGE_SIZES = {"growing": "{smaller}-{size}", "finer": "{finer}"}


@dataclasses.dataclass(frozen=True)
class Row:
    """One change.

    Attributes:
      name: of the row.
      change: what it changes in the row that it is compared with.
      runs: flag files of stages/ledger whose runs answer, several as an ensemble; `PROBE` is a logistic regression.
      against: name of the row that it is compared with.
      views: of the prediction; {larger} stands for an eighth more pixels a side than in training.
      soup: options of carclf.soup, which makes one run of `runs`; by default they are an ensemble.
      confirmed: whether the row is measured on all folds at the size of the backbone, too.
    """

    name: str
    change: str
    runs: tuple[str, ...]
    against: str = ""
    views: str = "clean"
    soup: tuple[str, ...] = ()
    confirmed: bool = False


ROWS = (
    Row(
        "probe",
        "a logistic regression on the same features, of photos and their mirror images",
        (PROBE,),
        views="clean|flip",
        confirmed=True,
    ),
    Row("head", "a head that starts from that regression, the backbone frozen", ("regression_head",), against=PROBE),
    Row("notebook", "the 2020 notebook: a head from a random start, then all layers", ("notebook",), confirmed=True),
    Row("regression", "the head starts from a logistic regression", ("regression",), against="notebook"),
    Row("softened", "the head is softened before the backbone learns", ("softened",), against="regression"),
    Row("cosine", "a higher rate with warm-up and cosine, Adam without AMSGrad", ("cosine",), against="softened"),
    Row("milder", "a milder augmentation, with zoom", ("milder",), against="cosine", confirmed=True),
    Row("best", "all changes so far together", ("milder",), against="notebook", confirmed=True),
    Row("chain", "head, the upper half, all layers, in as many epochs", ("chain",), against="milder"),
    Row("higher", "twice the highest rate, 6e-4", ("higher",), against="milder"),
    Row("batch_norm", "BatchNorm is trained, too", ("batch_norm",), against="higher"),
    Row("statistics", "its statistics are recomputed at the end", ("statistics",), against="batch_norm"),
    Row("layers", "1e-3 for the head, 0.8 of the rate in each block below", ("layers",), against="milder"),
    Row("clipped", "each gradient is clipped to a norm of 1", ("clipped",), against="milder"),
    Row("warmer", "a warm-up of two epochs instead of one", ("warmer",), against="milder"),
    Row("momentum", "SGD with momentum at a rate of 0.01 instead of Adam", ("momentum",), against="milder"),
    Row("batch16", "16 photos per step instead of 32, so twice the steps", ("batch16",), against="milder"),
    Row("longer", "twice the epochs", ("longer",), against="milder"),
    Row(
        "third",
        "a linear head, half of the epochs and of the layers: about a third of the notebook's time",
        ("third",),
        against="notebook",
        confirmed=True,
    ),
    Row("no_l2", "no l2 on the head's hidden layer", ("no_l2",), against="milder"),
    Row("less_l2", "a tenth of the l2 on the head's hidden layer", ("less_l2",), against="milder"),
    Row("wider", "512 units in the head's hidden layer, not 128", ("wider",), against="milder"),
    Row("linear", "a linear head", ("linear",), against="milder"),
    Row("attention", "a head of attention pooling", ("attention",), against="milder"),
    Row("smoothing", "smoothed labels", ("smoothing",), against="milder"),
    Row("mixup", "mixup(0.2)", ("mixup",), against="milder"),
    Row("cutmix", "cutmix of half of the photos", ("cutmix",), against="milder"),
    Row("erase", "an erased box in half of the photos", ("erase",), against="milder"),
    Row("trivial", "one operation of trivial in place of rotations and brightness", ("trivial",), against="milder"),
    Row("growing", "images that grow by half", ("growing",), against="milder"),
    Row(
        "finer",
        "four more epochs on images of nine sevenths of the pixels a side",
        ("finer",),
        against="milder",
        confirmed=True,
    ),
    Row("ema", "an exponential moving average of the weights", ("ema",), against="milder"),
    Row("swa", "the mean of the last three epochs' weights", ("swa",), against="milder"),
    Row(
        "wise",
        "a fifth of the weights from the head stage (WiSE-FT)",
        ("milder",),
        against="milder",
        soup=("--method=wise", "--alphas=0.8"),
    ),
    Row(
        "soup",
        "the mean of the weights of cosine and milder",
        ("cosine", "milder"),
        against="milder",
        soup=("--method=uniform",),
    ),
    Row(
        "views",
        "the mean of each photo and its mirror image",
        ("milder",),
        against="milder",
        views="clean|flip",
        confirmed=True,
    ),
    Row(
        "finer_views",
        "the mean of each photo and its mirror image, after finer",
        ("finer",),
        against="finer",
        views="clean|flip",
        confirmed=True,
    ),
    Row(
        "larger",
        "photos rendered an eighth larger than in training",
        ("milder",),
        against="milder",
        views="size({larger})",
    ),
    Row(
        "with_probe", "the mean with the probe", ("milder", PROBE), against="views", views="clean|flip", confirmed=True
    ),
    Row(
        "full",
        "all changes so far, with mirror images, against the regression on the same photos",
        ("milder",),
        against=PROBE,
        views="clean|flip",
        confirmed=True,
    ),
    Row(
        "ensemble",
        "the mean of milder and finer, each of photos and their mirror images",
        ("milder", "finer"),
        against="views",
        views="clean|flip",
        confirmed=True,
    ),
    Row(
        "whole",
        "milder, then finer, with mirror images",
        ("finer",),
        against="notebook",
        views="clean|flip",
        confirmed=True,
    ),
)


def find_rows(names: str, *, among: Sequence[Row] = ROWS) -> tuple[Row, ...]:
    """Returns the rows of these names, separated by commas.

    Raises:
      UserError: there is no such row.
    """
    known = {row.name: row for row in among}
    for name in names.split(","):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the rows are {', '.join(known)}."
            raise UserError(f"--rows={names} is not possible: there is no row {name!r}; {hint}")
    return tuple(known[name] for name in names.split(","))
