"""What the right form of an answer, and what is fitted for its metric, are worth: drawn probabilities, no photos.

Half of the photos are held out for what is fitted. The answers for the other half are written as a submission, read
back and scored. One label of ten is wrong, and the drawn model is too sure of itself, as networks are.

Example: python benchmarks/forms.py"""

import dataclasses
from pathlib import Path

import numpy as np
from measuring import scratch_folder

from carclf.command import run_command
from carclf.flags import Options, option
from carclf.forms import Form, read_sample_file
from carclf.inference.decisions import Decision, fit_decision
from carclf.inference.submission import write_submission
from carclf.metrics import find_metric

LEARNABLE = 0.9  # of the labels; the others are those of another class
SHARPNESS = 3.0  # by which the drawn logits are too large


@dataclasses.dataclass(frozen=True)
class FormsOptions(Options):
    """Every option of this benchmark."""

    photos: int = option(4000, "Photos, of which half are held out.", low=100)
    seed: int = option(0, "Seed of the draw.", low=0)


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Probabilities float64 [N, K], labels int64 [N], and the labels as the competition writes them."""

    probabilities: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]

    def half(self, which: int) -> "Drawn":
        """Returns every second photo, from the first or the second on."""
        return Drawn(self.probabilities[which::2], self.labels[which::2], self.classes)


def main(options: FormsOptions) -> None:
    """Draws, answers, scores, and prints the table."""
    rng = np.random.default_rng(options.seed)
    with scratch_folder() as folder:
        rows = [
            *log_loss_rows(draw(rng, photos=options.photos, classes=2), folder),
            *ranking_rows(draw(rng, photos=options.photos, classes=50), folder),
            *grade_rows(draw_grades(rng, photos=options.photos), folder),
        ]
    print(f"{'metric':<12}{'answer':<44}{'score':>8}")
    for metric, answer, score in rows:
        print(f"{metric:<12}{answer:<44}{score:>8.4f}")


def draw(rng: np.random.Generator, *, photos: int, classes: int) -> Drawn:
    """Returns a model that sees each photo's class through noise; one label of ten is that of another class."""
    seen = rng.integers(0, classes, photos)
    labels = np.where(rng.random(photos) < LEARNABLE, seen, (seen + rng.integers(1, classes, photos)) % classes)
    logits = rng.normal(size=(photos, classes)) + 3.5 * np.eye(classes)[seen]
    return Drawn(softmax(SHARPNESS * logits), labels, tuple(map(str, range(classes))))


def draw_grades(rng: np.random.Generator, *, photos: int) -> Drawn:
    """Returns a model of 5 grades, the lowest of which is half of all, that is off by a grade now and then."""
    shares = np.array([0.5, 0.1, 0.25, 0.05, 0.1])
    seen = rng.choice(5, size=photos, p=shares)
    labels = np.where(rng.random(photos) < LEARNABLE, seen, (seen + rng.integers(1, 5, photos)) % 5)
    noisy = seen + rng.normal(scale=0.9, size=photos)
    logits = -((noisy[:, None] - np.arange(5)) ** 2) / (2 * 0.9**2) + np.log(shares)
    return Drawn(softmax(SHARPNESS * logits), labels, tuple(map(str, range(5))))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Returns float64 [N, K], each row summing to 1."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def submitted(drawn: Drawn, form: Form, folder: Path, *, decision: Decision | None = None) -> list[tuple[str, ...]]:
    """Returns the cells of a submission that was written and read back."""
    probabilities, labels = (decision or Decision()).apply(drawn.probabilities)
    output = folder / "submission.csv"
    write_submission(
        output=output,
        ids=[f"{row}.jpg" for row in range(len(drawn.labels))],
        probabilities=probabilities,
        class_labels=drawn.classes,
        form=form,
        labels=labels,
    )
    written = read_sample_file(output, what="submission", advice="run it again")
    return list(zip(*(written.cells(name) for name in form.answer_columns), strict=True))


def log_loss_rows(drawn: Drawn, folder: Path) -> list[tuple[str, str, float]]:
    """Returns the log loss of labels, of probabilities as they are, and of calibrated ones."""
    metric, (held_out, test) = find_metric("log_loss"), (drawn.half(0), drawn.half(1))
    label = Form("label", ("Id", "label"), ("label",))
    form = Form("probability", ("Id", "label"), ("label",), positive="1")
    fitted = fit_decision("temperature", held_out.probabilities, held_out.labels, metric=metric, folds=1)
    print(fitted.summary)

    def scored(cells: list[tuple[str, ...]]) -> float:
        positive = np.array([float(cell) for (cell,) in cells])
        return metric.compute(np.stack([1 - positive, positive], axis=1), test.labels)

    return [
        ("log_loss", "0 or 1", scored(submitted(test, label, folder))),
        ("log_loss", "the probability", scored(submitted(test, form, folder))),
        ("log_loss", "the calibrated probability", scored(submitted(test, form, folder, decision=fitted))),
    ]


def ranking_rows(drawn: Drawn, folder: Path) -> list[tuple[str, str, float]]:
    """Returns MAP@5 of one label, and of the five likeliest."""
    test = drawn.half(1)

    def scored(form: Form) -> float:
        ranked = [cell.split() for (cell,) in submitted(test, form, folder)]
        places = [
            labels.index(true) + 1 if true in labels else np.inf for labels, true in zip(ranked, truth, strict=True)
        ]
        return float(np.mean(1 / np.array(places)))

    truth = [test.classes[label] for label in test.labels]
    return [
        ("map@5", "the likeliest label", scored(Form("label", ("Id", "x"), ("x",)))),
        ("map@5", "the five likeliest", scored(Form("ranking", ("Id", "x"), ("x",), k=5))),
    ]


def grade_rows(drawn: Drawn, folder: Path) -> list[tuple[str, str, float]]:
    """Returns the quadratic kappa of the likeliest grade, and of thresholds on the expected grade."""
    metric, (held_out, test) = find_metric("qwk"), (drawn.half(0), drawn.half(1))
    form = Form("label", ("Id", "grade"), ("grade",))
    fitted = fit_decision("thresholds", held_out.probabilities, held_out.labels, metric=metric, folds=1)
    print(fitted.summary)

    def scored(cells: list[tuple[str, ...]]) -> float:
        decided = np.array([test.classes.index(cell) for (cell,) in cells])
        return metric.of_labels(decided, test.labels, classes=5)

    return [
        ("qwk", "the likeliest grade", scored(submitted(test, form, folder))),
        ("qwk", "thresholds on the expected grade", scored(submitted(test, form, folder, decision=fitted))),
    ]


if __name__ == "__main__":
    run_command(main, FormsOptions, description=__doc__ or "")
