"""`python -m carclf.predict`: the test photos' classes, as the competition wants them."""

from pathlib import Path

from carclf import runs
from carclf.config import PredictOptions
from carclf.door import run_door
from carclf.errors import UserError

DESCRIPTION = """Predicts the test photos with a run, or the mean of several, and writes submission.csv.

The file has exactly the Ids of the sample submission, in its order; otherwise none is written.
Example: python -m carclf.predict --run=runs/b3_512 --data=data/cars --tta='random(10)' --output=submission.csv"""


def main(options: PredictOptions) -> None:
    """Predicts and writes the submission."""
    loaded = runs.load_runs(options.run, runs=options.runs)

    from carclf.data.manifest import load_manifest
    from carclf.inference import submission
    from carclf.inference.compatibility import check_classes, held_out_fold
    from carclf.recipe import parse_views

    manifest = load_manifest(options.data)
    check_classes(loaded, manifest)
    held_out = options.split == "val"
    split, folds = ("train", [held_out_fold(loaded, manifest)]) if held_out else ("test", None)
    views = parse_views(options.tta)
    if not manifest.photos(split, folds):
        raise UserError(
            f"The data set {manifest.directory} has no test photos: convert it with a test folder, or predict the "
            "held-out fold with --split=val."
        )
    sample = options.sample or (None if held_out else manifest.sample_submission)
    header, order = submission.read_sample(Path(sample)) if sample else (["Id", "Category"], None)
    photos = manifest.read_ids(split)
    if folds:
        photos = photos[photos["fold"].isin(folds)]
    submission.check_ids(photos["id"].tolist(), order=order)  # now, not after an hour of work

    from carclf.training.device import select_device

    device = select_device(options.device, precision=loaded[0].options.precision)
    print(device.describe(), flush=True)

    from carclf.inference.predictor import mean_predictions, predict_runs

    with device.scope():
        predictions = mean_predictions(
            predict_runs(
                loaded,
                manifest=manifest,
                split=split,
                folds=folds,
                views=views,
                batch_size=options.batch_size,
                jit=device.jit,
            )
        )
    ids = photos["id"].loc[predictions.rows].tolist()
    rows = submission.write_submission(
        output=Path(options.output),
        ids=ids,
        probabilities=predictions.probabilities,
        class_labels=manifest.class_labels,
        header=header,
        order=order,
    )
    print(f"Submission: {options.output} ({rows} rows, {len(views)} views of {len(loaded)} run(s))")
    if options.probabilities:
        submission.write_probabilities(
            output=Path(options.probabilities),
            ids=ids,
            probabilities=predictions.probabilities,
            class_names=manifest.class_names,
            id_name=header[0],
        )
        print(f"Probabilities: {options.probabilities}")


if __name__ == "__main__":
    run_door(main, PredictOptions, description=DESCRIPTION)
