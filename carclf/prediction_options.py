"""The options that evaluation and prediction share: which runs see which photos, in which views, on which device."""

import dataclasses

from carclf.flags import Options, option, same_option
from carclf.train_options import TrainOptions

RUNS, PREDICTION = "Data and run", "Prediction"


@dataclasses.dataclass(frozen=True)
class PredictionOptions(Options):
    """The options that `carclf.evaluate` and `carclf.predict` share."""

    run: str = option(
        "", "Run, or several separated by commas; their probabilities are averaged.", group=RUNS, path=True, urls=True
    )
    runs: str = option("runs", "Folder in which bare run names are looked up.", group=RUNS, path=True, urls=True)
    data: str = same_option(TrainOptions, "data", group=RUNS)
    tta: str = option(
        "clean",
        "Test-time augmentation: the views to average, such as 'clean|flip|zoom(1.1)|five_crop', 'random(10)' for "
        "random draws, 'size(448)|size(512)' for other sizes, or 'clean*2|flip' with weights.",
        names="carclf.recipe.views:VIEWS",
        check="carclf.recipe:parse_views",
        group=PREDICTION,
    )
    tta_mean: str = option(
        "probabilities",
        "What is averaged over the views.",
        names="carclf.inference.ensemble:MEANS",
        group=PREDICTION,
    )
    run_weights: str = option(
        "",
        "Weights of the runs in the average, such as 0.5,0.3,0.2; fitted finds the best ones on the photos that the "
        "runs held out; by default all are equal.",
        group=PREDICTION,
    )
    metric: str = same_option(
        TrainOptions,
        "metric",
        help="Metric of the competition; auto is the metric that the runs followed, or depends on the form of the "
        "answers. The k in a name is a number: map@5, top-3.",
        group=PREDICTION,
    )
    batch_size: int = same_option(TrainOptions, "batch_size", group=PREDICTION)
    device: str = same_option(TrainOptions, "device")
    engine: str = option(
        "auto",
        "Engine that computes the networks on a CPU; each needs the extra of its name. auto times the installed ones, "
        "if there are enough photos, and uses the fastest.",
        names=("carclf.engines.choice:CHOOSERS", "carclf.engines.table:ENGINES"),
        group="Device",
    )
