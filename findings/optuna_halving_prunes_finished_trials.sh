#!/usr/bin/env bash
# Optuna's SuccessiveHalvingPruner and HyperbandPruner prune trials at their last step where steps are counted from 1.
#
# Versions: Optuna 5.0.0, Python 3.11.
# Expected: with max_resource=9 a trial that has reported all of its 9 steps is a finished trial.
# Seen: a rung lies at step 9, too. A trial of steps 1 to 9 is asked there once more, and most of those that come so far end
# pruned after all their work. Steps 0 to 8 never meet that rung.
#
# Output seen, of 60 trials (how many Hyperband prunes differs from call to call):
#   SuccessiveHalving, steps 0 to 8: none is pruned at its last step
#   SuccessiveHalving, steps 1 to 9: some are pruned at their last step
#   Hyperband, steps 0 to 8: none is pruned at its last step
#   Hyperband, steps 1 to 9: some are pruned at their last step
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check optuna==5.0.0
"$folder/venv/bin/python" - <<'PYTHON' | tee "$folder/seen"
import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)
PRUNERS = {
    "SuccessiveHalving": lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
    "Hyperband": lambda: optuna.pruners.HyperbandPruner(min_resource=1, max_resource=9, reduction_factor=3),
}


def count(pruner, first):
    last, pruned = first + 8, 0

    def run(trial):
        nonlocal pruned
        value = trial.suggest_float("value", 0, 1)
        for step in range(first, last + 1):
            trial.report(value, step)
            if trial.should_prune():
                pruned += step == last
                raise optuna.TrialPruned
        return value

    sampler = optuna.samplers.RandomSampler(seed=0)
    optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner).optimize(run, n_trials=60)
    how_many = "some are pruned at their last step" if pruned else "none is pruned at its last step"
    return f"steps {first} to {last}: {how_many}"


for name, make in PRUNERS.items():
    for first in (0, 1):
        print(f"{name}, {count(make(), first)}")
PYTHON
diff <(sed -n '/^# Output seen/,/^[^#]/s/^#   //p' "$0") "$folder/seen" && echo "As it was."
