"""Run by test_search.py: one of several processes that search; its objective is a formula, or never ends."""

import sys
import time

from carclf.tuning.search import run_trials
from tests.tuning.formula import SPACE, formula, opened


def endless(number, values, report):
    print("started", flush=True)
    time.sleep(600)


url, trials, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
tally = run_trials(opened(url), endless if kind == "endless" else formula, space=SPACE, trials=trials, seed=5, epochs=3)
print(tally)
