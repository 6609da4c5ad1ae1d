"""Runs the trials of a study, which any number of processes share, to its end."""

import dataclasses
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from carclf import preemption
from carclf.errors import Preempted, UserError
from carclf.tuning.space import Parameter
from carclf.tuning.study import without_experimental_warnings
from carclf.tuning.trial import Report, TrialFailedError, TrialPrunedError

Objective = Callable[[int, Mapping[str, Any], Report], float]
"""Takes the number of a trial, the values of the searched options and a callback for epochs; returns the value of
the metric, or raises TrialFailedError or TrialPrunedError.
"""

INITIAL_FAILURES = 3  # if this many first trials all fail, every trial will
POLL_SECONDS = 1.0
SURPLUS = "surplus"  # attribute of a trial that two processes began at once where one was wanted; it counts nowhere


@dataclasses.dataclass(frozen=True)
class Tally:
    """The numbers of a study's trials by state; a restarted trial counts once.

    Attributes:
      completed: trials that ran to their end.
      pruned: trials that were ended early.
      failed: trials without a result.
      running: trials running here or in other processes, as far as known.
    """

    completed: int
    pruned: int
    failed: int
    running: int

    @classmethod
    def of(cls, study: optuna.Study) -> "Tally":
        """Returns the current tally."""
        states = [trial.state for trial in _counted(study)]
        ended = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING)
        return cls(*(states.count(state) for state in ended))

    @property
    def settled(self) -> int:
        """The number of trials that will not be restarted."""
        return self.completed + self.pruned + self.failed

    def __str__(self) -> str:
        return f"{self.settled} trials: {self.completed} completed, {self.pruned} pruned, {self.failed} failed"


def run_trials(
    study: optuna.Study,
    objective: Objective,
    *,
    space: Sequence[Parameter],
    trials: int,
    seed: int,
    epochs: int,
    metric: str = "accuracy",
    on_result: Callable[[optuna.Study], None] = lambda study: None,
) -> Tally:
    """Runs trials until the study has `trials` of them, including those of other processes, and returns their tally.

    If the process of a trial has disappeared, the first process that notices restarts the trial.

    Args:
      study: from `open_study`.
      objective: runs a trial.
      space: the searched options.
      trials: number of trials to reach in the study.
      seed: seed of the values; those of a trial also depend on its number and on earlier results.
      epochs: of a trial; after the last one nothing is left to save, so no trial is pruned there.
      metric: the name of what is compared.
      on_result: called after each trial that this process completes, and once at the end.

    Raises:
      UserError: the first trials have all failed.
      KeyboardInterrupt: the running trial will be restarted.
      Preempted: SIGTERM has arrived; the running trial will be restarted.
    """
    run = _Runner(study, objective, space, seed, metric, epochs, trials)
    reported, noticed = False, set[int]()
    while (tally := Tally.of(study)).settled < trials:
        preemption.check()
        if tally.settled + tally.running >= trials:
            if not reported:
                print(f"Waiting for {tally.running} trials of other processes.", flush=True)
            reported = True
            _give_first_heartbeats(study, noticed)
            time.sleep(POLL_SECONDS)
            with without_experimental_warnings():
                optuna.storages.fail_stale_trials(study)
            continue
        _run_one(study, run)
        _stop_if_all_fail(study)
        if Tally.of(study).completed:
            on_result(study)
    if not tally.completed:
        raise UserError(f"No trial was completed ({tally}): {_last_reason(study)}")
    on_result(study)
    return tally


def _counted(study: optuna.Study) -> list[FrozenTrial]:
    """Returns the trials that count: neither surplus nor restarted as another one."""
    restarted = _restarted(study)
    trials = study.get_trials(deepcopy=False)
    return [trial for trial in trials if trial.number not in restarted and SURPLUS not in trial.user_attrs]


def _restarted(study: optuna.Study) -> set[int]:
    """Returns the numbers of the trials that were restarted as another one."""
    trials = study.get_trials(deepcopy=False)
    return {number for trial in trials for number in trial.system_attrs.get("retry_history", [])}


def _run_one(study: optuna.Study, run: "_Runner") -> None:
    """Runs a trial; it has no result here if another process took it over in the meantime."""
    try:
        with without_experimental_warnings():
            study.optimize(run, n_trials=1, catch=(TrialFailedError, _SurplusError))
    except UserError:
        raise
    except Exception:  # Optuna has several kinds for it, an AssertionError among them
        if run.number not in _restarted(study):
            raise
        print(
            f"Trial {run.number}: this process was away for so long that another one has restarted it.",
            file=sys.stderr,
            flush=True,
        )


class _SurplusError(Exception):
    """Other processes have begun all the trials that are wanted."""


@dataclasses.dataclass
class _Runner:
    """An objective for Optuna; `number` is that of its last trial."""

    study: optuna.Study
    objective: Objective
    space: Sequence[Parameter]
    seed: int
    metric: str
    epochs: int
    trials: int
    number: int | None = None

    def __call__(self, trial: optuna.Trial) -> float:
        self.number = trial.number
        if sum(other.number < trial.number for other in _counted(self.study)) >= self.trials:
            trial.set_user_attr(SURPLUS, True)
            raise _SurplusError
        # Processes that started together must not draw the same values, and a single one must not repeat its values.
        draw = np.random.SeedSequence([self.seed, trial.number]).generate_state(1)[0]
        self.study.sampler = optuna.samplers.TPESampler(seed=int(draw), multivariate=False)
        for parameter in self.space:
            _suggest(trial, parameter)
        values = rounded(trial.params)

        def report(epoch: int, value: float) -> bool:
            trial.report(value, epoch)
            return epoch < self.epochs and trial.should_prune()

        print(f"Trial {trial.number}: {', '.join(f'{name}={value}' for name, value in values.items())}", flush=True)
        try:
            value = self.objective(trial.number, values, report)
        except TrialPrunedError:
            print(f"Trial {trial.number} was pruned.", flush=True)
            raise optuna.TrialPruned from None
        except TrialFailedError as error:
            trial.set_user_attr("reason", str(error))
            print(f"Trial {trial.number} failed: {error}", file=sys.stderr, flush=True)
            raise
        except (KeyboardInterrupt, Preempted, UserError) as error:
            self._start_again_later(trial)
            if isinstance(error, Preempted):  # Optuna does this for the others
                self.study.tell(trial.number, state=TrialState.FAIL)
            raise
        print(f"Trial {trial.number}: val_{self.metric} {value:.4f}", flush=True)
        return value

    def _start_again_later(self, trial: optuna.Trial) -> None:
        frozen = next(one for one in self.study.get_trials() if one.number == trial.number)
        with without_experimental_warnings():
            optuna.storages.RetryHeartbeatStaleTrialCallback()(self.study, frozen)


def _suggest(trial: optuna.Trial, parameter: Parameter) -> None:
    if parameter.kind == "choice":
        trial.suggest_categorical(parameter.name, parameter.values)
        return
    suggest = trial.suggest_int if isinstance(parameter.values[0], int) else trial.suggest_float
    low, high = parameter.values
    suggest(parameter.name, low, high, log=parameter.kind == "log")


def rounded(params: Mapping[str, Any]) -> dict[str, Any]:
    """Returns Optuna's values rounded to four digits, for people to read and write."""
    return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in params.items()}


def _give_first_heartbeats(study: optuna.Study, noticed: set[int]) -> None:
    """Gives each running trial a heartbeat, once, and adds its number to `noticed`.

    Otherwise a process killed before its trial's first heartbeat would never count as dead: Optuna checks the last one.
    """
    storage = study._storage
    assert isinstance(storage, optuna.storages._heartbeat.BaseHeartbeat)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.number not in noticed:
            storage.record_heartbeat(trial._trial_id)
            noticed.add(trial.number)


def _stop_if_all_fail(study: optuna.Study) -> None:
    tally = Tally.of(study)
    if tally.failed >= INITIAL_FAILURES and tally.failed == tally.settled:
        raise UserError(f"The first {tally.failed} trials all failed, the last one with: {_last_reason(study)}")


def _last_reason(study: optuna.Study) -> str:
    failed: list[FrozenTrial] = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
    reasons = [trial.user_attrs["reason"] for trial in failed if "reason" in trial.user_attrs]
    return f"{reasons[-1]}." if reasons else "see the output above."
