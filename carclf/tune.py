"""`python -m carclf.tune`: searches the options of a stage, in any number of processes, and writes the best."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carclf import advice, preemption, runs, storage
from carclf.command import expand_flagfiles, given_names, parse_command_line, run_command
from carclf.errors import UserError
from carclf.extras import install_command
from carclf.flags import (
    identity_options,
    option,
    options_of,
    refuse,
    refuse_below_a_file,
    refuse_inherited,
    require_flags,
    result_options,
    to_dict,
)
from carclf.train_options import ALL_FOLDS, TrainOptions

if TYPE_CHECKING:
    import optuna

DESCRIPTION = """Searches the options of a stage with Optuna and writes the best trial as a flag file.

Flags of carclf.train apply to all trials. The same command, started again, in several processes, or on several machines
with one --storage, continues the same study.
Example: python -m carclf.tune --flagfile=stages/b0_112.flags --data=data/cars --trials=40 --output=tuned.flags"""


@dataclasses.dataclass(frozen=True)
class TuneOptions(TrainOptions):
    """Every option of `python -m carclf.tune`: those of the search, and those that its trials share."""

    required = ("data", "output")
    refused = ("stages", "plan", "budget", "plan_output", "find_lr", "resume_from", "num_hosts", "host", "coordinator")

    trials: int = option(0, "Number of trials in the study, including those of other processes.", low=1, group="Search")
    output: str = option("", "Flag file to write the best trial to.", path=True, group="Search")
    study: str = option("", "Name of the study; by default that of --output.", group="Search")
    storage: str = option(
        "",
        "Database of the study, as an SQLAlchemy URL; by default SQLite in RUNS/STUDY_trials/study.db.",
        group="Search",
    )
    space: str = option(
        "", "File with the search space, one option per line; see docs/tuning.md.", path=True, group="Search"
    )
    pruner: str = option(
        "median",
        "What stops poor trials early: median stops those below the median of the others at the same epoch.",
        names="carclf.tuning.study:PRUNERS",
        group="Search",
    )
    heartbeat_seconds: int = option(
        30,
        "Seconds between two heartbeats; a process that misses three is considered dead, and its trial starts again.",
        low=1,
        group="Search",
    )

    @property
    def is_shared(self) -> bool:
        """Whether they are those of several trainings: of every trial."""
        return True

    def __post_init__(self) -> None:
        """Checks each option, then the rules between options."""
        require_flags(self, *self.required)
        super().__post_init__()
        refuse(self.num_hosts > 1, "num_hosts", self.num_hosts, "a trial trains on one host; start more processes")
        refuse_inherited(self, "a trial trains one stage from its start")
        refuse(self.val_fold == ALL_FOLDS, "val_fold", "all", "a trial is evaluated on one fold")
        refuse(storage.is_remote(self.runs), "runs", self.runs, "the study and its trials need a folder here")


def main(options: TuneOptions) -> None:
    """Searches until the study has all its trials."""
    check_optuna()

    from carclf.data.manifest import load_manifest
    from carclf.metrics import choose_metric
    from carclf.tuning.outcome import check_output
    from carclf.tuning.search import run_trials
    from carclf.tuning.space import read_space
    from carclf.tuning.study import open_study
    from carclf.tuning.trial import TrainTrial

    output, read = Path(options.output).expanduser(), list[Path]()
    expand_flagfiles(sys.argv[1:], files=read)
    check_output(output, read=read)
    refuse_below_a_file("output", output.parent)
    refuse_below_a_file("runs", options.runs)
    base = trained_options(options)
    space = read_space(options.space, base=base)
    manifest = load_manifest(options.data)
    metric = choose_metric(options.metric, manifest.form)
    result = _Result(output, base, base_flags(sys.argv[1:]), manifest.fingerprint, metric.name)
    name = options.study or output.stem
    folder = runs.run_path(f"{name}_trials", runs=options.runs)
    study = open_study(
        name,
        storage=options.storage or _local_storage(folder),
        pruner=options.pruner,
        epochs=options.epochs,
        identity={
            "data": manifest.fingerprint,
            "space": [str(parameter) for parameter in space],
            **identity_options(base),
        },
        higher=metric.higher,
        heartbeat_seconds=options.heartbeat_seconds,
    )
    print(f"Study {name}: {options.trials} trials of {options.epochs} epochs at most, in {folder}.")
    print("\n".join(f"  {parameter}" for parameter in space), flush=True)
    with preemption.watching(lambda: "the study keeps what has ended, and the same command starts the rest"):
        tally = run_trials(
            study,
            TrainTrial(base, folder, column=metric.column),
            space=space,
            trials=options.trials,
            seed=options.seed,
            epochs=options.epochs,
            metric=metric.name,
            on_result=result.write,
        )
    best = study.best_trial
    print(f"Study {name}: {tally}; the best is trial {best.number}, val_{metric.name} {best.value:.4f}.")
    print(*advice.after_search(output, options.data), sep="\n")


def check_optuna() -> None:
    """Checks that Optuna is installed.

    Raises:
      UserError: it is not.
    """
    try:
        import carclf.tuning.search  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name not in ("optuna", "sqlalchemy"):
            raise
        raise UserError(f"carclf.tune needs Optuna, which is not installed: {install_command('tune')}.") from None


def trained_options(options: TuneOptions) -> TrainOptions:
    """Returns the options that the trials share."""
    names = {field.name for field in dataclasses.fields(TrainOptions)}
    return TrainOptions(**{name: value for name, value in to_dict(options).items() if name in names})


def base_arguments(arguments: Sequence[str]) -> list[str]:
    """Returns the `--flagfile=PATH` and `--stage=NAME` of a command line, each joined by '='."""
    found, pending = [], list(arguments)
    while pending:
        name, separator, value = pending.pop(0).lstrip("-").partition("=")
        if name in ("flagfile", "stage"):
            found.append(f"--{name}={value if separator else pending.pop(0)}")
    return found


def base_flags(arguments: Sequence[str]) -> "BaseFlags":
    """Returns the flags at the start of the flag file of the best trial.

    Args:
      arguments: the command line of the search.

    Raises:
      UserError: carclf.train does not take its flag files.
    """
    found = base_arguments(arguments)
    named = given_names(TuneOptions, expand_flagfiles(found))
    known = options_of(TrainOptions)
    if named <= set(known):
        return BaseFlags(found, to_dict(parse_command_line(TrainOptions, found, description="")))
    kept = {name for name in named & set(known) if not known[name].path and not known[name].changes_result}
    return BaseFlags([], to_dict(TrainOptions()), frozenset(kept))


@dataclasses.dataclass(frozen=True)
class BaseFlags:
    """The flags at the start of the flag file of the best trial.

    Attributes:
      arguments: the flag files and stages of the command line; none if they give options of the search, which
        carclf.train does not take.
      options: what they give.
      kept: options that change no result, from flag files that are left out.
    """

    arguments: list[str]
    options: dict[str, Any]
    kept: frozenset[str] = frozenset()


def _local_storage(folder: Path) -> str:
    from carclf.tuning.storage import sqlite_url

    folder.mkdir(parents=True, exist_ok=True)
    return sqlite_url(str(folder.resolve() / "study.db"))


@dataclasses.dataclass(frozen=True)
class _Result:
    """The flag file of the best trial, and what is written into it."""

    output: Path
    base: TrainOptions
    base_flags: BaseFlags
    fingerprint: str
    metric: str

    def write(self, study: "optuna.Study") -> None:
        """Writes the best trial so far."""
        from carclf.tuning.outcome import write_flags
        from carclf.tuning.search import Tally, rounded

        best = study.best_trial
        base, every = self.base_flags, to_dict(self.base)
        options: dict[str, Any] = {name: every[name] for name in sorted(base.kept)}
        options |= result_options(self.base) | rounded(best.params)
        write_flags(
            self.output,
            base=base.arguments,
            options={k: v for k, v in options.items() if k in best.params or v != base.options[k]},
            provenance=[
                f"trial {best.number} of the study {study.study_name}, val_{self.metric} {best.value:.4f} on fold "
                f"{self.base.val_fold}.",
                f"The best of {Tally.of(study)}.",
                f"Data set {self.fingerprint}.",
                f"Changes of {' '.join(base.arguments) or 'the default options'}.",
            ],
        )


if __name__ == "__main__":
    run_command(main, TuneOptions, description=DESCRIPTION)
