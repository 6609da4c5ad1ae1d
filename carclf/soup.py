"""`python -m carclf.soup`: averages the weights of finished runs into one run, without training."""

import dataclasses
import time

from carclf import advice, runs
from carclf.command import run_command
from carclf.device import select_device
from carclf.flags import Options, changed_options, option, refuse, require_flags, same_option
from carclf.lock import holding
from carclf.prediction_options import PredictionOptions
from carclf.train_options import TrainOptions

DESCRIPTION = """Averages the weights of several runs of one network into a new run, without training.

The new run predicts as fast as one of them. A run is added to the soup if that does not lower the score on the photos
that every run held out. --method=wise chooses between a run and its parent. Runs of different folds have none:
--method=uniform averages them without a held-out score.
Example: python -m carclf.soup --run=b3_512,b3_512_seed1 --data=data/cars --output=b3_512_soup"""
ALPHAS = "0,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,1"


@dataclasses.dataclass(frozen=True)
class SoupOptions(Options):
    """Every option of `python -m carclf.soup`."""

    required = ("run", "data", "output")

    run: str = same_option(
        PredictionOptions,
        "run",
        help="Runs to average, separated by commas; with --method=wise one run, or its parent and the run.",
        group="Options",
    )
    runs: str = same_option(
        PredictionOptions, "runs", help="Folder in which bare run names are looked up and created.", group="Options"
    )
    data: str = same_option(TrainOptions, "data", group="Options")
    output: str = option("", "Folder of the new run, or a bare name inside --runs.", path=True, urls=True)
    overwrite: bool = option(False, "Replace the run in --output.")
    method: str = option(
        "greedy",
        "What is averaged: greedy adds the runs that do not lower the score, the best first; uniform takes all runs; "
        "wise is WiSE-FT, a run and its parent.",
        names="carclf.averaging.methods:METHODS",
    )
    alphas: str = option(
        ALPHAS,
        "With --method=wise: the weights of the run to choose from; its parent has the rest up to 1.",
        check="carclf.averaging.methods:parse_alphas",
    )
    label_patch: str = option(
        "",
        "CSV of corrected labels to score by; by default the one that the runs were trained with.",
        path=True,
        urls=True,
    )
    metric: str = same_option(
        PredictionOptions, "metric", help="Metric that selects; auto is as in carclf.predict.", group="Options"
    )
    batch_size: int = same_option(TrainOptions, "batch_size", group="Options")
    device: str = same_option(TrainOptions, "device", group="Options")

    def __post_init__(self) -> None:
        """Checks each option, then the rules between options."""
        super().__post_init__()
        require_flags(self, *self.required)
        refuse(self.alphas != ALPHAS and self.method != "wise", "alphas", self.alphas, "only --method=wise takes it")


def main(options: SoupOptions) -> None:
    """Averages, and writes the new run."""
    from carclf.averaging.methods import METHODS, parse_alphas
    from carclf.averaging.plan import plan_soup
    from carclf.data.manifest import load_manifest

    started = time.perf_counter()
    plan = plan_soup(
        options.run,
        method=options.method,
        output=options.output,
        overwrite=options.overwrite,
        manifest=load_manifest(options.data),
        metric=options.metric,
        label_patch=options.label_patch,
        runs_folder=options.runs,
    )
    with holding(plan.directory, doing="averaging runs in", option="--output"):
        device = select_device(options.device, precision=plan.leader.options.precision)
        print(device.describe(), flush=True)

        # Keras may be imported only from here on, after its backend was chosen.
        from carclf.averaging.averager import Averager
        from carclf.averaging.making import begin_soup, with_scores
        from carclf.report.run_files import write_report
        from carclf.runs.closing import CLEAN, close_run

        with device.scope():
            averager = Averager(plan, batch_size=options.batch_size, device=device)
            tried = METHODS[plan.method].average(averager, parse_alphas(options.alphas))
            command = arguments_of(options)
            run = begin_soup(averager, tried, device=device, data=options.data, command=command)
        run, evaluation = with_scores(run, averager, tried[-1], seconds=time.perf_counter() - started)
        if evaluation:
            write_report(run, evaluation=evaluation, manifest=plan.manifest, views=CLEAN, runs_folder=options.runs)
        close_run(run)
    print_result(run, data=options.data, test_photos=plan.manifest.photos("test"))


def arguments_of(options: SoupOptions) -> list[str]:
    """Returns the arguments that make the soup again."""
    return [f"--{name}" if value is True else f"--{name}={value}" for name, value in changed_options(options).items()]


def print_result(run: runs.Run, *, data: str, test_photos: int) -> None:
    """Prints what the soup is, how good it is, and what to do with it."""
    ingredients = run.stage["soup"]["ingredients"]
    taken = sum(ingredient["share"] > 0 for ingredient in ingredients)
    print(f"Soup: {run.directory}, {taken} of {len(ingredients)} runs, {run.score}.")
    if run.held_out_fold is None:
        print("No training photo is new to it, so it has no held-out score: the test photos will tell.")
    if test_photos or run.held_out_fold is not None:
        print(*advice.after_training(run.directory, data, has_test_photos=test_photos > 0), sep="\n")


if __name__ == "__main__":
    run_command(main, SoupOptions, description=DESCRIPTION)
