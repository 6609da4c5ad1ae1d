"""A cheap search: its value is a formula of the learning rate, highest at 1e-3."""

import math

import optuna

from carclf.train_options import TrainOptions
from carclf.tuning.space import parse_space
from carclf.tuning.study import open_study

SPACE = parse_space("learning_rate log 1e-5 1e-1\nhead_width choice 8 16", base=TrainOptions(), where="here")


def formula(number, values, report):
    """1 at a learning rate of 1e-3, less by 0.1 for each factor of 10; 16 is better than 8."""
    return 1.0 - 0.1 * abs(math.log10(values["learning_rate"] / 1e-3)) - 0.01 * (values["head_width"] == 8)


def opened(
    url: str, *, pruner: str = "none", identity: dict | None = None, name: str = "cars", higher: bool = True
) -> optuna.Study:
    return open_study(
        name,
        storage=url,
        pruner=pruner,
        epochs=3,
        identity=identity or {"data": "d"},
        heartbeat_seconds=1,
        higher=higher,
    )
