"""Opens a study in its storage, so that any number of processes can share it."""

import contextlib
import json
import re
import sqlite3
import time
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import optuna
import sqlalchemy

from carclf.errors import UserError
from carclf.tuning.storage import LOCK_SECONDS, check_sqlite, damaged, read_url, shown_url, unusable

RETRIES = 3  # of a trial whose process disappeared; a trial that always kills its machine must end at some point
MISSED_BEATS = 3  # missing heartbeats after which a process counts as dead
IDENTITY = "carclf"  # the study's attribute with the settings that its trials have in common


def open_study(
    name: str,
    *,
    storage: str,
    pruner: str,
    epochs: int,
    identity: Mapping[str, Any],
    heartbeat_seconds: int,
    higher: bool = True,
) -> optuna.Study:
    """Opens the study of that name, or creates it.

    Args:
      name: name of the study.
      storage: URL of a database.
      pruner: a key of `PRUNERS`.
      epochs: maximum number of epochs per trial.
      identity: settings that all trials have in common, ready for JSON; compared if the study exists.
      heartbeat_seconds: time between two heartbeats of a running trial.
      higher: whether a higher value is better.

    Raises:
      UserError: the storage cannot be used or is damaged, or the study has another identity.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # this module prints one line per trial itself
    storage = read_url(storage)
    try:
        check_sqlite(storage)
        with without_experimental_warnings():
            database = _storage(storage, heartbeat_seconds=heartbeat_seconds)
            study = optuna.create_study(
                study_name=name,
                storage=database,
                direction="maximize" if higher else "minimize",
                pruner=PRUNERS[pruner](epochs),
                load_if_exists=True,
            )
    except sqlalchemy.exc.DatabaseError as error:
        if not isinstance(error.orig, sqlite3.DatabaseError) or isinstance(error.orig, sqlite3.OperationalError):
            raise unusable(storage, error) from None
        raise damaged(storage, error.orig) from None
    except (sqlalchemy.exc.SQLAlchemyError, ImportError, OSError, RuntimeError) as error:
        raise unusable(storage, error) from None
    weakref.finalize(study, database.engine.dispose)  # Optuna does not close its connections
    try:
        _check_identity(study, identity, storage=storage)
        study.get_trials()
    except (sqlalchemy.exc.SQLAlchemyError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise damaged(storage, error) from None
    return study


def _storage(url: str, *, heartbeat_seconds: int) -> optuna.storages.RDBStorage:
    waiting = {"connect_args": {"timeout": LOCK_SECONDS}} if url.startswith("sqlite") else {"pool_pre_ping": True}
    for attempt in (1, 2, 3):
        try:
            return optuna.storages.RDBStorage(
                url.replace("{", "{{").replace("}", "}}"),  # for Optuna a template
                engine_kwargs=waiting,
                heartbeat_interval=heartbeat_seconds,
                grace_period=MISSED_BEATS * heartbeat_seconds,
                heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=RETRIES),
            )
        except sqlalchemy.exc.DBAPIError as error:  # another process may be creating the same tables
            if attempt == 3 or not re.search("already exists|duplicate|UNIQUE", str(error.orig)):
                raise
            time.sleep(attempt)
    raise AssertionError


# Called with the maximum number of epochs of a trial.
PRUNERS: dict[str, Callable[[int], optuna.pruners.BasePruner]] = {
    "median": lambda epochs: optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2),  # not after epoch 1
    "hyperband": lambda epochs: optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=3),
    "none": lambda epochs: optuna.pruners.NopPruner(),
}


def _check_identity(study: optuna.Study, identity: Mapping[str, Any], *, storage: str) -> None:
    identity = json.loads(json.dumps(identity))
    known = study.user_attrs.get(IDENTITY)
    if known is None:
        study.set_user_attr(IDENTITY, identity)
        return
    other = [name for name in sorted(known.keys() | identity.keys()) if known.get(name) != identity.get(name)]
    if other:
        named = ", ".join(f"{name}: {known.get(name)}, not {identity.get(name)}" for name in other)
        raise UserError(
            f"The study {study.study_name} in {shown_url(storage)} was started with other settings ({named}), so its "
            "trials cannot be compared with new ones: give the same settings, or another --study."
        )


@contextlib.contextmanager
def without_experimental_warnings() -> Iterator[None]:
    """Hides Optuna's warning that heartbeats are experimental, as they have been since 2021."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
