"""The table of metrics, and how one is named and chosen."""

import dataclasses
import re
from collections.abc import Sequence

from carclf.errors import UserError
from carclf.forms import Form, kind_of
from carclf.metrics import formulas
from carclf.metrics.metric import Metric

AUTO = "auto"
# A name that ends with k is written with a number in its place: map@5, top-3.
METRICS: dict[str, Metric] = {
    "accuracy": Metric("Accuracy", "class_counts", formulas.accuracy, percent=True),
    "balanced_accuracy": Metric("Balanced accuracy", "class_counts", formulas.balanced_accuracy, percent=True),
    "macro_f1": Metric("Macro F1", "class_counts", formulas.macro_f1),
    "micro_f1": Metric("Micro F1", "class_counts", formulas.accuracy),
    "qwk": Metric("Quadratic weighted kappa", "grades", formulas.quadratic_kappa),
    "log_loss": Metric("Log loss", "cross_entropy", formulas.mean, higher=False, needs="probabilities"),
    "auc": Metric("AUC", "scores", formulas.binned_auc, needs="probabilities", exact=formulas.exact_auc),
    "map@k": Metric("MAP@k", "label_ranks", formulas.mean_average_precision, needs="order"),
    "top-k": Metric("Top-k accuracy", "label_ranks", formulas.within_first, needs="order", percent=True),
}
_NUMBERED = re.compile(r"(map@|top-)([1-9]\d*)")


def find_metric(name: str) -> Metric:
    """Returns the metric of a name such as 'qwk' or 'map@5'.

    Raises:
      UserError: there is none.
    """
    numbered = _NUMBERED.fullmatch(name)
    row = METRICS.get(f"{numbered[1]}k" if numbered else name)
    if row is None or (name in METRICS and name.endswith(("@k", "-k"))):
        written = ", ".join(re.sub(r"(?<=[@-])k$", "5", known) for known in METRICS)
        raise UserError(f"--metric={name} is not a metric: choose auto, or one of {written} (any number for 5).")
    k = int(numbered[2]) if numbered else 0
    title = re.sub(r"(?<=[@-])k\b", str(k), row.title)
    # Few classes may have a label among the likeliest k whatever is answered.
    return dataclasses.replace(row, name=name, k=k, title=title, least_classes=max(row.least_classes, k + 1))


def check_metric(name: str) -> None:
    """Checks the value of `--metric`.

    Raises:
      UserError: it is neither auto nor a metric.
    """
    if name != AUTO:
        find_metric(name)


def choose_metric(name: str, form: Form | None) -> Metric:
    """Returns the metric of that name; 'auto' is the one that the form of the answers is usually scored by.

    Args:
      name: the value of `--metric`.
      form: of the data set; None for one without a sample, whose answers may be of any form.

    Raises:
      UserError: there is no such metric, or answers of that form do not say what it scores.
    """
    if name == AUTO:
        return find_metric(kind_of(form).metric(form) if form else "accuracy")
    metric = find_metric(name)
    if form and metric.needs not in kind_of(form).says:
        raise UserError(
            f"--metric={name} scores {_WANTED[metric.needs]}, but the sample submission asks for "
            f"{kind_of(form).summary}: choose another metric, or convert with the --form that the competition wants."
        )
    return metric


def grades_note(metric: Metric, class_names: Sequence[str]) -> str:
    """Returns the order of the grades that a metric assumes, if it assumes one that numbers do not tell; else ''."""
    if metric.name != "qwk" or all(name.isdecimal() for name in class_names):
        return ""
    return f"Grades, from low to high: {', '.join(class_names)}. Another order is given at conversion, with --classes."


_WANTED = {"label": "labels", "order": "several labels for each photo", "probabilities": "probabilities"}
