"""`python -m carclf.probe`: compares frozen backbones on a data set, and makes a run of the best."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from carclf.command import run_command
from carclf.errors import UserError
from carclf.flags import Options, option, refuse_below_a_file, require_flags, same_option
from carclf.prediction_options import PredictionOptions
from carclf.train_options import TrainOptions
from carclf.wording import counted

if TYPE_CHECKING:
    import pandas as pd

    from carclf.data.manifest import Manifest
    from carclf.device import Device
    from carclf.engines.choice import Engines
    from carclf.inference.ranking import RankedRow
    from carclf.metrics import Metric
    from carclf.probing.extractors import Extractor
    from carclf.probing.kept import KeptFeatures
    from carclf.probing.photos import TrainingPhotos
    from carclf.probing.probes import Probe

DESCRIPTION = """Compares pretrained backbones on a data set: fits a logistic regression on the frozen features of each,
and evaluates it out of fold. Writes probe.html, probe.json, missed.csv (photos that no backbone classifies correctly),
the run best/ and best_head.flags, a head stage that starts from the best regression. Features are kept and used again.

Example: python -m carclf.probe --data=data/cars --backbones=efficientnet_lite0,efficientnet_lite2@224"""


@dataclasses.dataclass(frozen=True)
class ProbeOptions(Options):
    """Every option of `python -m carclf.probe`."""

    required = ("data",)

    data: str = same_option(TrainOptions, "data")
    output: str = option("probe", "Folder for the results, with the kept features in features/.", path=True)
    backbones: str = option(
        "",
        "What to compare, separated by commas: NAME, NAME@SIZE, NAME@SIZE=FILE with the backbone's weights; by default "
        "every backbone whose ImageNet weights are on this machine, at its own size.",
        names="carclf.model.backbones:BACKBONES",
        check="carclf.probing.extractors:parse_extractors",
    )
    mirrored: bool = option(True, "Also use the mirror image of each photo, both to fit and to evaluate.")
    val_fold: int = option(0, "Fold that the run best/ holds out.", low=0)
    metric: str = same_option(TrainOptions, "metric", help="Metric that ranks the probes; auto is as in carclf.train.")
    fit: str = same_option(TrainOptions, "fit")
    batch_size: int = same_option(TrainOptions, "batch_size")
    device: str = same_option(TrainOptions, "device")
    engine: str = same_option(PredictionOptions, "engine")

    def __post_init__(self) -> None:
        """Checks each option, and that no required one is missing."""
        super().__post_init__()
        require_flags(self, *self.required)


def main(options: ProbeOptions) -> None:
    """Probes, prints the table and writes the files."""
    from carclf.data.manifest import load_manifest
    from carclf.metrics import choose_metric
    from carclf.probing.extractors import local_extractors, parse_extractors

    refuse_below_a_file("output", options.output)
    manifest = load_manifest(options.data)
    metric = choose_metric(options.metric, manifest.form)
    check_folds(options, manifest)
    extractors = parse_extractors(options.backbones) or local_extractors()

    from carclf.device import select_device

    device = select_device(options.device)
    print(device.describe(), flush=True)

    from carclf.engines.choice import plan_engines
    from carclf.inference.ranking import ranking_line, ranking_table
    from carclf.probing.photos import training_photos
    from carclf.probing.probes import greedy_ensemble, ranked, row_of

    engines = plan_engines(options.engine, device)
    photos = training_photos(manifest)
    kept: dict[str, KeptFeatures] = {}
    found: list[Probe] = []
    for extractor in extractors:
        probe, features = probed(
            extractor, options=options, manifest=manifest, photos=photos, device=device, engines=engines
        )
        kept[extractor.name] = features
        found.append(probe)
        print(ranking_line(row_of([probe], photos, metric)), flush=True)
    probes = ranked(found, photos, metric)
    members = greedy_ensemble(probes, photos, metric)
    rows = [row_of([probe], photos, metric) for probe in probes]
    ensemble = row_of(members, photos, metric) if len(members) > 1 else None
    print(ranking_table(rows, ensemble, metric))
    missed = write_results(options, manifest, photos=photos, probes=probes, rows=rows, ensemble=ensemble, metric=metric)
    make_best(options, manifest, photos=photos, device=device, probe=probes[0],
              features=kept[probes[0].extractor.name], score=rows[0].score, metric=metric)  # fmt: skip
    print(f"{counted(len(missed), 'photo')} that no probe gets right: {Path(options.output) / 'missed.csv'}")
    print(f"Page: {Path(options.output) / 'probe.html'}")


def check_folds(options: ProbeOptions, manifest: "Manifest") -> None:
    """Checks that photos can be evaluated out of fold.

    Raises:
      UserError: there are fewer than two folds, or --val_fold is none of them.
    """
    if len(manifest.folds) < 2:
        raise UserError(
            f"A probe needs at least 2 folds and {options.data} has {len(manifest.folds)}: convert the photos again "
            "with --folds=5 and --overwrite."
        )
    if options.val_fold not in manifest.folds:
        raise UserError(
            f"--val_fold={options.val_fold} is not a fold of {options.data}, whose folds are "
            f"{min(manifest.folds)} to {max(manifest.folds)}."
        )


def probed(
    extractor: "Extractor",
    *,
    options: ProbeOptions,
    manifest: "Manifest",
    photos: "TrainingPhotos",
    device: "Device",
    engines: "Engines",
) -> "tuple[Probe, KeptFeatures]":
    """Returns the probe of an extractor and its features."""
    import keras

    from carclf.probing.kept import VIEWS, keep_features
    from carclf.probing.probes import fit_probe

    with device.scope():
        features = keep_features(
            extractor,
            manifest=manifest,
            views=list(VIEWS) if options.mirrored else ["undrawn"],
            fit=options.fit,
            batch_size=device.padded_batch_size(options.batch_size),
            jit=device.jit,
            engines=engines,
            directory=Path(options.output).expanduser() / "features",
        )
    keras.backend.clear_session()  # one backbone in memory at a time
    return fit_probe(extractor, features, photos), features


def write_results(
    options: ProbeOptions,
    manifest: "Manifest",
    *,
    photos: "TrainingPhotos",
    probes: "list[Probe]",
    rows: "list[RankedRow]",
    ensemble: "RankedRow | None",
    metric: "Metric",
) -> "pd.DataFrame":
    """Writes probe.html, probe.json and missed.csv, and returns the missed photos."""
    from carclf.files import write_json
    from carclf.probing.making import missed_table, write_missed
    from carclf.report.probe_page import write_probe_page

    output = Path(options.output).expanduser()
    missed = missed_table(probes, photos, manifest.class_names)
    write_missed(output / "missed.csv", missed)
    described = [dataclasses.asdict(row) for row in rows]
    write_json(
        output / "probe.json",
        {
            "metric": metric.name,
            "probes": described,
            "ensemble": dataclasses.asdict(ensemble) if ensemble else None,
            "missed": len(missed),
            "options": dataclasses.asdict(options),
        },
    )
    write_probe_page(
        output / "probe.html",
        data=options.data,
        photos=int(photos.evaluated.sum()),
        classes=photos.class_count,
        metric=metric,
        rows=rows,
        ensemble=ensemble,
        missed=missed,
    )
    return missed


def make_best(
    options: ProbeOptions,
    manifest: "Manifest",
    *,
    photos: "TrainingPhotos",
    device: "Device",
    probe: "Probe",
    features: "KeptFeatures",
    score: float,
    metric: "Metric",
) -> None:
    """Makes the run best/ and best_head.flags of the best probe, and prints what to do with them."""
    from carclf import advice
    from carclf.probing.making import head_options, make_run, write_flags

    output = Path(options.output).expanduser()
    stage = head_options(
        probe.extractor,
        data=options.data,
        run=output / "best",
        val_fold=options.val_fold,
        directions=min(probe.regressions[options.val_fold].kernel.shape),
        train_photos=int((photos.folds != options.val_fold).sum()),
        replicas=device.replicas,
        fit=options.fit,
    )
    run = make_run(probe, features, options=stage, manifest=manifest, photos=photos, device=device)
    flags = output / "best_head.flags"
    write_flags(flags, stage, probe=probe, score=score, metric=metric)
    print(f"The best as a run: {run.directory}, {run.score} on fold {options.val_fold}.")
    has_test_photos = manifest.photos("test") > 0
    print(*advice.after_training(run.directory, options.data, has_test_photos=has_test_photos), sep="\n")
    print(f"Train its head: {advice.command('train', f'--flagfile={flags}', f'--data={options.data}')}")


if __name__ == "__main__":
    run_command(main, ProbeOptions, description=DESCRIPTION)
