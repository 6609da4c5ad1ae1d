"""The options that evaluation and prediction share: which runs see which photos, in which views, on which device."""

import dataclasses

from carclf.flags import Options, option, same_option
from carclf.train_options import TrainOptions

RUNS, PREDICTION = "Data and run", "Prediction"


@dataclasses.dataclass(frozen=True)
class PredictionOptions(Options):
    """The options that `carclf.evaluate` and `carclf.predict` share."""

    run: str = option(
        "", "Run, or several separated by commas, whose probabilities are averaged.", group=RUNS, path=True, urls=True
    )
    runs: str = option("runs", "Folder where bare run names are looked up.", group=RUNS, path=True, urls=True)
    data: str = same_option(TrainOptions, "data", group=RUNS)
    tta: str = option(
        "clean",
        "Test-time augmentation: the views to average, such as 'clean|flip|zoom(1.1)|five_crop', 'random(10)', other "
        "sizes 'size(448)|size(512)', or with weights 'clean*2|flip'.",
        names="carclf.recipe.views:VIEWS",
        check="carclf.recipe:parse_views",
        group=PREDICTION,
    )
    tta_mean: str = option(
        "probabilities",
        "What the mean over the views is taken of.",
        names="carclf.inference.ensemble:MEANS",
        group=PREDICTION,
    )
    run_weights: str = option(
        "",
        "Weights of the runs in their mean: 0.5,0.3,0.2, or fitted for those with the least loss on the photos that "
        "the runs held out; by default all are equal.",
        group=PREDICTION,
    )
    metric: str = same_option(
        TrainOptions,
        "metric",
        help="What the competition scores by; auto is the metric that the runs followed, else what the form "
        "of the answers is scored by. The k in a name is a number: map@5, top-3.",
        group=PREDICTION,
    )
    batch_size: int = same_option(TrainOptions, "batch_size", group=PREDICTION)
    device: str = same_option(TrainOptions, "device")
    engine: str = option(
        "auto",
        "What computes the networks on a CPU, each with the extra of its name; auto times those that are installed, if "
        "there are photos enough, and takes the fastest.",
        names=("carclf.engines.choice:CHOOSERS", "carclf.engines.table:ENGINES"),
    )
