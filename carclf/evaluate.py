"""`python -m carclf.evaluate`: scores runs on the photos they never trained on."""

from carclf import runs
from carclf.config import EvaluateOptions
from carclf.door import run_door

DESCRIPTION = """Scores a run, or the mean of several, on the held-out fold; writes metrics.json and report.html.

Example: python -m carclf.evaluate --run=runs/b3_512 --data=data/cars --tta='clean|flip|zoom(1.1)'"""


def main(options: EvaluateOptions) -> None:
    """Evaluates and prints the summary."""
    loaded = runs.load_runs(options.run, runs=options.runs)

    from carclf.data.manifest import load_manifest
    from carclf.inference.compatibility import check_classes, held_out_fold
    from carclf.recipe import parse_views

    manifest = load_manifest(options.data)
    check_classes(loaded, manifest)
    fold = held_out_fold(loaded, manifest)
    views = parse_views(options.tta)

    from carclf.training.device import select_device

    device = select_device(options.device, precision=loaded[0].options.precision)
    print(device.describe(), flush=True)

    from carclf.inference.evaluation import evaluate_predictions
    from carclf.inference.predictor import mean_predictions, predict_runs
    from carclf.report.run_files import write_evaluation

    with device.scope():
        predictions = mean_predictions(
            predict_runs(
                loaded,
                manifest=manifest,
                split="train",
                folds=[fold],
                views=views,
                batch_size=options.batch_size,
                jit=device.jit,
            )
        )
    evaluation = evaluate_predictions(predictions, manifest)
    names = "|".join(view.name for view in views)
    print(f"Accuracy of {' + '.join(run.name for run in loaded)} in views {names}: {evaluation.summary()}.")
    if len(loaded) == 1:
        page = write_evaluation(
            loaded[0], evaluation=evaluation, manifest=manifest, tta=names, runs_folder=options.runs
        )
        print(f"Report: {page}")


if __name__ == "__main__":
    run_door(main, EvaluateOptions, description=DESCRIPTION)
