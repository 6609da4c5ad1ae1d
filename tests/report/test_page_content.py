"""What the tables, bars and pictures of report.html show: each value under its own heading, beside its own name."""

import base64
import dataclasses
import html.parser

import numpy as np
import pandas as pd
import pytest
from test_page import make_run, page_text

from carclf.inference.metrics import evaluate
from carclf.report import page
from carclf.report.page import MistakePictures
from carclf.report.template import fixed, number, percent, rate

CONFUSION = np.array([[5, 4, 0], [1, 0, 9], [0, 2, 6]])  # rows true, columns predicted
NAMES = ("saloon", "estate", "van")


class Section(html.parser.HTMLParser):
    """The cells of the tables, the bars and the pictures of one section, in order.

    Attributes:
      rows: of each row the cells' texts.
      styles: of each row the style of every element in its cells that has one.
      classes: of each row the class of every `<span>` in its cells, None for those without one.
      pictures: (alternative text, bytes) of each `<img>`.
      words: all the text.
    """

    def __init__(self, text: str, *, name: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.styles: list[list[str]] = []
        self.classes: list[list[str | None]] = []
        self.pictures: list[tuple[str | None, bytes]] = []
        self.words: list[str] = []
        self.in_cell = False
        start = text.index(f'<section id="{name}">')
        self.feed(text[start : text.index("</section>", start)])

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "tr":
            for table in (self.rows, self.styles, self.classes):
                table.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.in_cell = True
        elif tag == "img":
            self.pictures.append((given.get("alt"), base64.b64decode(given["src"].partition(",")[2])))
        if self.in_cell and "style" in given:
            self.styles[-1].append(given["style"])
        if self.in_cell and tag == "span":
            self.classes[-1].append(given.get("class"))

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.in_cell = False

    def handle_data(self, data):
        self.words.append(data)
        if self.in_cell:
            self.rows[-1][-1] += data.strip()

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).replace("\u00a0", " ").split())


def evaluation_of(confusion: np.ndarray, names=NAMES):
    """An evaluation with that confusion matrix; no two mistakes are equally confident."""
    pairs = [pair for pair, count in np.ndenumerate(confusion) for _ in range(count)]
    labels, predicted = (np.array(side) for side in zip(*pairs, strict=True))
    confidence = np.linspace(0.5, 0.98, len(labels))[:, None]
    others = (1 - confidence) / (len(names) - 1)
    probabilities = np.where(np.eye(len(names))[predicted] == 1, confidence, others)
    ids = [f"{number}.jpg" for number in range(len(labels))]
    return evaluate(probabilities=probabilities, labels=labels, ids=ids, class_names=names)


@pytest.fixture
def run(tmp_path):
    metrics = {"val_accuracy": 0.8, "best_epoch": 2, "train_seconds": 192.0, "epochs": 3}
    return make_run(tmp_path / "b3_512", class_names=NAMES, metrics=metrics)


def test_the_rows_of_the_confusion_table_are_the_true_classes(run):
    section = Section(page_text(run, evaluation=evaluation_of(CONFUSION)), name="confusion")
    assert "Rows are the true class, columns the predicted one." in section.text
    header, *rows = section.rows
    assert header == ["", *NAMES]
    assert rows == [[name, *(str(n or "") for n in counts)] for name, counts in zip(NAMES, CONFUSION, strict=True)]
    shares = CONFUSION / CONFUSION.sum(axis=1, keepdims=True)
    assert section.styles[1:] == [[f"--fraction:{share:.3f}" for share in row if share] for row in shares]
    kinds = np.where(CONFUSION == 0, None, np.where(np.eye(3) == 1, "hit", "miss"))
    assert section.classes[1:] == kinds.tolist()


def test_each_class_has_the_bar_and_the_figures_of_its_own(run):
    section = Section(page_text(run, evaluation=evaluation_of(CONFUSION)), name="classes")
    assert section.rows[0] == ["class", "F1", "", "precision", "recall", "photos"]
    right, predicted, true = np.diag(CONFUSION), CONFUSION.sum(axis=0), CONFUSION.sum(axis=1)
    f1 = dict(zip(NAMES, 2 * right / (predicted + true), strict=True))
    assert [row[0] for row in section.rows[1:]] == sorted(NAMES, key=f1.__getitem__)
    for row, styles in zip(section.rows[1:], section.styles[1:], strict=True):
        k = NAMES.index(row[0])
        figures = [f"{100 * share:.1f}\u00a0%" for share in (f1[row[0]], right[k] / predicted[k], right[k] / true[k])]
        assert row[2:] == [*figures, str(true[k])]
        assert styles[-1] == f"width:{100 * f1[row[0]]:.1f}%"


def test_the_most_confused_pairs_are_named_true_class_first(run):
    text = Section(page_text(run, evaluation=evaluation_of(CONFUSION)), name="confusion").text
    assert (
        "estate predicted as van 9 saloon predicted as estate 4 van predicted as estate 2 estate predicted as saloon 1"
        in text
    )


def test_the_table_of_epochs_is_the_history(run):
    columns = ["val_accuracy", "val_loss", "accuracy", "loss", "learning_rate", "seconds", "images_per_second"]
    values = np.arange(1, 1 + 3 * len(columns)).reshape(3, -1) / 32  # exact, and no two alike
    history = pd.DataFrame(values, columns=columns).assign(epoch=[1, 2, 3], waiting_fraction=[0.5, 0.25, 0.125])
    section = Section(page_text(run, history=history), name="learning")
    assert section.rows[0] == [
        "epoch", "val accuracy", "val loss", "accuracy", "loss", "learning rate", "seconds", "images/s", "input wait",
    ]  # fmt: skip
    for row, given in zip(section.rows[1:], history.to_dict("records"), strict=True):
        assert row == [
            str(given["epoch"]), percent(given["val_accuracy"], 2), fixed(given["val_loss"]),
            percent(given["accuracy"], 2), fixed(given["loss"]), rate(given["learning_rate"]),
            number(given["seconds"]), number(given["images_per_second"]), percent(given["waiting_fraction"]),
        ]  # fmt: skip


def test_each_chart_stands_below_its_name(run, monkeypatch):
    monkeypatch.setattr(page, "curve_svg", lambda history, *, name, best_epoch: f"[{name} {best_epoch}]")
    text = Section(page_text(run), name="learning").text
    assert "Accuracy [Accuracy 2] Loss [Loss 2] Learning rate [Learning rate 2] Seconds [Seconds 2]" in text


def test_the_headline_bar_lies_at_the_accuracy_and_its_interval(run):
    evaluation = evaluation_of(CONFUSION)
    text = page_text(run, evaluation=evaluation)
    start, accuracy, end = (100 * share for share in (evaluation.accuracy_low, 11 / 27, evaluation.accuracy_high))
    assert start < accuracy < end < 100 - start
    assert f'<i style="left:{start:.2f}%;right:{100 - end:.2f}%"></i>' in text
    assert f'<b style="left:{accuracy:.2f}%"></b>' in text


def test_the_tiles_have_the_figures_of_their_names(tmp_path):
    confusion = np.diag([4, 3, 2, 1])
    confusion[0, 3], confusion[2, 1] = 3, 2
    names = ("a", "b", "c", "d")
    run = make_run(tmp_path / "four", class_names=names, metrics={})
    metrics = {"top3_accuracy": 0.875, "macro_f1": 0.625, "log_loss": 0.375}
    evaluation = dataclasses.replace(evaluation_of(confusion, names), metrics=metrics)
    text = " ".join(page_text(run, evaluation=evaluation).replace("\u00a0", " ").split())
    for name, figure in (("Top-3 accuracy", "87.5 %"), ("Macro F1", "0.625"), ("Log loss", "0.375")):
        assert f"<dt>{name}</dt><dd>{figure}</dd>" in text
    calibration = evaluation.calibration._replace(
        expected_error=0.5, temperature=0.25, expected_error_after=0.125, log_loss_after=0.75
    )
    text = Section(
        page_text(run, evaluation=dataclasses.replace(evaluation, calibration=calibration)), name="calibration"
    ).text
    assert (
        "Expected calibration error 0.500 Best temperature 0.25 Error at that temperature 0.125 "
        "Log loss at that temperature 0.750" in text
    )


def test_each_mistake_has_its_own_pictures(run):
    evaluation = evaluation_of(CONFUSION)
    shown = evaluation.mistakes[:3]
    assert len({(mistake.true, mistake.predicted) for mistake in shown}) > 1
    pictures = {
        mistake.id: MistakePictures(*(f"{what} of {mistake.id}".encode() for what in ("photo", "predicted", "true")))
        for mistake in shown
    }
    section = Section(page_text(run, evaluation=evaluation, pictures=pictures), name="mistakes")
    assert [content for _, content in section.pictures] == [
        f"{what} of {mistake.id}".encode() for mistake in shown for what in ("photo", "predicted", "true")
    ]
    assert [alternative for alternative, _ in section.pictures[1:3]] == [
        "Where it speaks for the class predicted", "Where it speaks for its label",
    ]  # fmt: skip
    for mistake in shown:
        caption = f"photo for {mistake.predicted} for {mistake.true} {mistake.true} predicted as {mistake.predicted}"
        assert f"{caption} {100 * mistake.probability:.0f} % {mistake.id}" in section.text
    header, *listed = section.rows
    assert header == ["photo", "label", "predicted as", "probability"]
    assert listed == [[m.id, m.true, m.predicted, percent(m.probability)] for m in evaluation.mistakes[3:]]
