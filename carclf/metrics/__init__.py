"""What a competition scores answers by: metrics over counts that add up over batches, hosts and folds.

NumPy and SciPy only: training computes the same formulas on the device, from the same counts.
"""

from carclf.metrics.metric import Metric
from carclf.metrics.table import METRICS, check_metric, choose_metric, find_metric, grades_note
from carclf.metrics.tallies import TALLIES

__all__ = ["METRICS", "TALLIES", "Metric", "check_metric", "choose_metric", "find_metric", "grades_note"]
