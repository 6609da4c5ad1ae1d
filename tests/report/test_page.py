import dataclasses
import html.parser
import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from carclf import runs
from carclf.flags import to_dict
from carclf.inference.audit import Audit, ViewEffect
from carclf.inference.confusion import Confusion
from carclf.inference.metrics import evaluate
from carclf.report import page, run_files
from carclf.report.page import MistakePictures, write_page
from carclf.report.template import duration, number, percent, rate
from carclf.train_options import TrainOptions

SCRIPT = '<script>document.title="owned"</script>'
IMAGE = "\"><img src=x onerror='alert(1)'>.jpg"
JPEG = MistakePictures(photo=b"\xff\xd8 photo", predicted=b"\xff\xd8 heat", true=b"\xff\xd8 other heat")


class Page(html.parser.HTMLParser):
    """Collects the tags, the addresses and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self._broken = False  # whether a line may break here, inside a name
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "wbr":
            self._broken = True
            return
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        if self._broken:
            self.words[-1] += data
        elif self.tags[-1:] != ["style"]:
            self.words.append(data)
        self._broken = False

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).replace("\u00a0", " ").split())


def make_run(folder, *, class_names=("cat", "dog"), metrics=None, stage=None, **options) -> runs.Run:
    folder.mkdir()
    content = {
        "format_version": runs.FORMAT_VERSION,
        "stage": folder.name,
        "options": to_dict(TrainOptions(**options)),
        "data": {
            "directory": "data/cars",
            "class_names": list(class_names),
            "class_map_sha256": "c" * 64,
            "fingerprint": "f" * 64,
            "max_side": 640,
        },
    }
    (folder / runs.STAGE_FILE).write_text(json.dumps(content | (stage or {})))
    if metrics is not None:
        (folder / runs.METRICS_FILE).write_text(json.dumps({"val_accuracy": 0.5} | metrics))
    return runs.load_run(folder)


def make_history(epochs: int = 3) -> pd.DataFrame:
    columns = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds", "images_per_second")
    values = dict.fromkeys(columns, 0.5) | {"seconds": [70.0] + [61.0] * (epochs - 1), "images_per_second": 812.0}
    return pd.DataFrame({"epoch": range(1, epochs + 1)} | values)


def make_evaluation(*, class_names=("cat", "dog"), ids=None, wrong=2, photos=10):
    labels = np.arange(photos) % len(class_names)
    predicted = labels.copy()
    predicted[:wrong] = (predicted[:wrong] + 1) % len(class_names)
    probabilities = 0.8 * np.eye(len(class_names))[predicted] + 0.2 / len(class_names)
    ids = ids or [f"{row}.jpg" for row in range(photos)]
    return evaluate(probabilities=probabilities, labels=labels, ids=ids, class_names=class_names)


@pytest.fixture(scope="module", autouse=True)
def charts_drawn_once():
    """Most pages show the same few curves, and a curve takes longer than all the rest of its page."""
    drawn, draw = {}, page.curve_svg

    def draw_once(history, *, name, best_epoch):
        key = history.to_json(), name, best_epoch
        if key not in drawn:
            drawn[key] = draw(history, name=name, best_epoch=best_epoch)
        return drawn[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "curve_svg", draw_once)
        yield


def page_text(run: runs.Run, **changes) -> str:
    arguments = {
        "history": make_history(),
        "evaluation": make_evaluation(class_names=run.class_names),
        "tta": "clean",
        "parents": [],
        "pictures": {},
    }
    path = run.directory / "report.html"
    write_page(run=run, path=path, **(arguments | changes))
    return path.read_text(encoding="utf-8")


@pytest.fixture
def run(tmp_path):
    return make_run(
        tmp_path / "b3_512", metrics={"val_accuracy": 0.8, "best_epoch": 2, "train_seconds": 192.0, "epochs": 3}
    )


def test_the_headline_is_accuracy_with_interval_photos_and_time(run):
    text = Page(page_text(run, history=make_history(2))).text
    assert "10 photos of the held-out fold 0 80.0 %" in text
    assert "95 % interval 49.0 % to 94.3 %" in text
    assert "Best epoch 2 of 3" in text
    assert "Training time 3 min 12 s" in text
    assert "Images per second 812" in text
    assert "usually 1 min 1 s" in text  # the first epoch does not count, because it compiles


def test_another_metric_stands_before_the_accuracy_and_has_a_chart(run):
    plain = make_evaluation()
    scored = dataclasses.replace(plain, metric="log_loss", score=0.25)
    history = make_history().assign(score=0.1, val_score=0.2)
    run = dataclasses.replace(run, stage={**run.stage, "metric": "log_loss"})
    text = Page(page_text(run, evaluation=scored, history=history)).text
    assert text.index("Log loss, the metric that counts 0.2500") < text.index("Accuracy on the 10 photos")
    assert "b3_512: Log loss 0.2500" in text
    charts = text[text.index("during the epoch.") :]
    assert charts.index("Log loss") < charts.index("Accuracy")
    other = dataclasses.replace(plain, metric="qwk", score=0.5)  # the curve is that of the metric that was trained
    text = Page(page_text(run, evaluation=other, history=history)).text
    assert "Quadratic weighted kappa, the metric that counts" in text
    charts = text[text.index("during the epoch.") :]
    assert charts.index("Log loss") < charts.index("Accuracy")
    assert "the metric that counts" not in Page(page_text(run, evaluation=plain)).text


def test_classes_without_photos_come_last_and_have_no_figures(tmp_path):
    run = make_run(tmp_path / "r", class_names=("absent", "good", "poor"), metrics={})
    evaluation = evaluate(
        probabilities=np.eye(3)[[1, 1, 0]], labels=np.array([1, 1, 2]), ids=list("abc"), class_names=run.class_names
    )
    table = Page(page_text(run, evaluation=evaluation)).text
    table = table[table.index("Classes, weakest first") :]
    assert table.index("poor 0.0 %") < table.index("good 100.0 %") < table.index("absent – – – 0")


def test_very_many_classes_are_pairs_without_a_picture(tmp_path):
    names = tuple(f"class {k}" for k in range(201))
    run = make_run(tmp_path / "r", class_names=names, metrics={})
    Image.new("RGB", (20, 20), "blue").save(run.directory / "confusion.png")
    page = Page(page_text(run, evaluation=make_evaluation(class_names=names, photos=201, wrong=20)))
    assert "img" not in page.tags
    assert page.text.count(" predicted as ") >= 20


def test_a_run_that_keeps_swa_weights_has_no_best_epoch(tmp_path):
    metrics = {"val_accuracy": 0.8, "best_epoch": None, "train_seconds": 192.0, "epochs": 3}
    text = Page(page_text(make_run(tmp_path / "averaged", metrics=metrics, swa_epochs=2))).text
    assert "Weights SWA of 2 epochs" in text
    assert "est epoch" not in text


def test_the_page_needs_no_network_and_no_script(run):
    Image.new("RGB", (20, 10), "red").save(run.directory / "augmentation.png")
    text = page_text(run, pictures={"0.jpg": JPEG})
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "form"} & set(page.tags)
    addresses = [value for name, value in page.attributes if name in ("src", "href", "xlink:href", "action")]
    assert sum(value.startswith("data:image/jpeg;base64,") for value in addresses) == 4  # three of them of the mistake
    assert all(value.startswith(("data:", "#")) for value in addresses)
    assert not re.findall(r"url\((?!#)|@import", text)
    assert "default-src 'none'" in text
    assert page.tags.count("svg") == 5  # of each epoch four figures, and calibration


def test_a_line_breaks_at_the_words_of_a_name_and_two_names_can_be_told_apart(tmp_path):
    names = ["Mercedes-Benz_E-Class_Coupe_2012_facelift", "Mercedes-Benz_E-Class_Cabriolet_2012_facelift"]
    text = page_text(
        make_run(tmp_path / "long", class_names=names),
        evaluation=make_evaluation(class_names=names),
        pictures={"0.jpg": JPEG},
    )
    assert "<bdi>Mercedes-Benz_<wbr>E-Class_<wbr>Coupe_<wbr>2012_<wbr>facelift</bdi> predicted as" in text
    short = ["… Cabriolet_2012_facelift", "… Coupe_2012_facelift"]
    for name, caption in zip(names[::-1], short, strict=True):
        shown = caption.replace("_", "_<wbr>")
        assert f'<span title="{name}">for <bdi>{shown}</bdi></span>' in text
    assert 'title="Mercedes-Benz_E-Class_Coupe_2012_facelift"><div>… Coupe_20…elift</div>' in text


def page_with_names(folder, *, name: str, other: str) -> Page:
    """Returns a page in which every text that a user can choose is one of the two."""
    stage = {
        "stage": name,
        "parent": {"stage": other, "val_accuracy": 0.5},
        "versions": {name: other},
        "device": {"kind": name, "replicas": 1},
        "git_commit": other,
    }
    metrics = {"val_accuracy": 0.8, "best_epoch": 1, "train_seconds": 5.0, "epochs": 1}
    options = {"init_from": name, "data": other, "weights": name, "label_patch": other}
    run = make_run(folder, class_names=(name, other), metrics=metrics, stage=stage, **options)
    Image.new("RGB", (20, 10), "red").save(run.directory / "augmentation.png")
    ids = [f"{row}{other}" for row in range(10)]
    evaluation = make_evaluation(class_names=run.class_names, ids=ids, wrong=5)
    return Page(page_text(run, evaluation=evaluation, tta=name, parents=[run], pictures={ids[0]: JPEG}))


def test_nothing_that_a_name_contains_becomes_markup(tmp_path):
    harmless = page_with_names(tmp_path / "harmless", name="cat", other="dog")
    hostile = page_with_names(tmp_path / "<b>bold run<", name=SCRIPT, other=IMAGE)
    assert hostile.tags == harmless.tags
    assert [name for name, _ in hostile.attributes] == [name for name, _ in harmless.attributes]
    for shown in (SCRIPT, f"0{IMAGE}", f"4{IMAGE}", "<b>bold run<"):
        assert shown in hostile.text


def test_a_name_that_utf_8_cannot_encode_is_shown_as_its_code(run):
    evaluation = make_evaluation(ids=["bad\udc80name.jpg", *map(str, range(9))])
    assert "bad\\udc80name.jpg" in page_text(run, evaluation=evaluation)


def test_the_stage_table_is_the_chain_of_stages_with_the_gain_of_each(tmp_path):
    metrics = {"val_accuracy": 0.8525, "best_epoch": 2, "train_seconds": 1209.0, "epochs": 3}
    gone = {"parent": {"run": "runs/b0", "stage": "b0_112", "val_accuracy": 0.8}}
    head = make_run(tmp_path / "b3_head", metrics=metrics, stage=gone, unfreeze="head", image_size="300")
    child = make_run(
        tmp_path / "b3_512", metrics=metrics | {"val_accuracy": 0.8425}, image_size="384x512", train_batch_norm=True
    )
    text = Page(page_text(child, parents=[head])).text
    assert "b0_112 80.00 % its folder is missing" in text
    assert "b3_head 85.25 % +5.25 300 32 1e-3 head" in text
    assert "b3_512 84.25 % −1.00 384x512 32 1e-3 all + BN" in text
    assert "3 of 10 403" in text


def test_a_run_with_almost_empty_files_still_has_a_page(tmp_path):
    bare = make_run(tmp_path / "bare", stage={"device": None})
    text = Page(page_text(bare, history=make_history()[["epoch"]])).text
    assert "Best epoch – of –" in text
    assert "bare –" in text


def test_a_history_without_rows_has_a_page(run):
    assert Page(page_text(run, history=make_history(1).iloc[:0])).tags.count("svg") == 1  # calibration


def test_views_are_named_next_to_the_clean_accuracy(run):
    text = Page(page_text(run, tta="clean|flip")).text
    assert "Mean of the views clean|flip ; 80.0 % without test-time augmentation" in text
    assert "Without test-time augmentation" in Page(page_text(run)).text


def test_changed_options_are_listed_and_shown_as_a_command(tmp_path):
    run = make_run(tmp_path / "r", amsgrad=True, augment="flip|rotate(10)", metrics={})
    page = Page(page_text(run))
    assert "--augment flip|rotate(10) notebook" in page.text
    assert "--amsgrad True False" in page.text
    assert "python -m carclf.train '--augment=flip|rotate(10)' --amsgrad" in page.text
    assert f"All {len(to_dict(run.options))} options" in page.text


def test_options_are_compared_with_the_parents(tmp_path):
    parent = make_run(tmp_path / "head", metrics={"val_accuracy": 0.5}, unfreeze="head", epochs=15)
    child = make_run(tmp_path / "all", metrics={}, epochs=15, init_from="head")
    text = Page(page_text(child, parents=[parent])).text
    assert "option here default parent" in text
    assert "--epochs 15 10 15" in text
    assert "--unfreeze all all head" in text  # the default, and yet a change
    assert "default parent" not in Page(page_text(parent)).text


def test_the_views_are_listed_with_what_they_fix_and_break(run):
    audit = Audit(
        views=(ViewEffect("flip", 5, 2, 0.453), ViewEffect("zoom(1.1)", 1, 4, 0.375)),
        mean=ViewEffect("mean of 3 views", 6, 0, 0.03125),
        view_count=3,
        enough_views=2,
    )
    evaluation = dataclasses.replace(make_evaluation(), audit=audit)
    text = Page(page_text(run, evaluation=evaluation)).text
    assert "flip 5 2 +3 0.45 zoom(1.1) 1 4 −3 0.38 mean of 3 views 6 0 +6 0.031" in text
    assert "The first 2 of the 3 views" in text
    assert "Effect of the views" not in Page(page_text(run)).text


def test_calibration_is_drawn_and_described(run):
    calibration = make_evaluation().calibration._replace(expected_error=0.123, temperature=1.7)
    page = Page(page_text(run, evaluation=dataclasses.replace(make_evaluation(), calibration=calibration)))
    assert "Expected calibration error 0.123" in page.text
    assert "Best temperature 1.70" in page.text
    assert "The model is overconfident." in page.text
    assert ("aria-label", "Accuracy by confidence") in page.attributes


def test_the_input_wait_is_part_of_the_time(run):
    text = Page(page_text(run, history=make_history().assign(waiting_fraction=[0.5, 0.025, 0.0]))).text
    assert "images/s input wait 1 50.00 %" in text
    assert "812 2.5 %" in text


def test_classes_are_listed_weakest_first_and_confusion_names_the_pair(tmp_path):
    run = make_run(tmp_path / "r", class_names=("good", "fair", "poor"), metrics={})
    labels, predicted = np.array([0, 0, 1, 1, 2, 2, 2]), np.array([0, 0, 1, 1, 1, 1, 2])
    evaluation = evaluate(
        probabilities=np.eye(3)[predicted], labels=labels, ids=list("abcdefg"), class_names=run.class_names
    )
    text = Page(page_text(run, evaluation=evaluation)).text
    assert "poor predicted as fair 2" in text
    table = text[text.index("Classes, weakest first") :]
    assert table.index("poor 50.0 % 100.0 % 33.3 % 3") < table.index("fair") < table.index("good 100.0 %")


def test_many_classes_are_a_picture_instead_of_a_table(tmp_path):
    names = tuple(f"class {k}" for k in range(40))
    run = make_run(tmp_path / "r", class_names=names, metrics={})
    Image.new("RGB", (20, 20), "blue").save(run.directory / "confusion.png")
    evaluation = make_evaluation(class_names=names, photos=40)
    page = Page(page_text(run, evaluation=evaluation))
    assert page.tags.count("img") == 1
    assert ("class", "confusion") not in page.attributes
    assert ("class", "confusion") in Page(page_text(make_run(tmp_path / "few", metrics={}))).attributes


def test_of_very_many_classes_no_page_picture_or_file_needs_the_matrix(tmp_path, monkeypatch):
    monkeypatch.setattr(Confusion, "matrix", None)  # would be called
    names = tuple(f"class {k}" for k in range(201))
    run = make_run(tmp_path / "r", class_names=names, metrics={})
    evaluation = make_evaluation(class_names=names, photos=201)
    run_files._draw_mistaken(evaluation, path=run.directory / "confusion.png", name="r")
    assert "class 0 predicted as class 1 1" in Page(page_text(run, evaluation=evaluation)).text
    assert evaluation.to_dict()["confusion_cells"][:2] == [[0, 1, 1], [1, 2, 1]]


def test_mistakes_without_a_thumbnail_are_listed_in_words(run):
    evaluation = make_evaluation(wrong=3)
    assert "3 in words" in Page(page_text(run, evaluation=evaluation)).text
    page = Page(page_text(run, evaluation=evaluation, pictures={"1.jpg": JPEG}))
    assert "2 more in words" in page.text
    assert page.tags.count("figure") == 1
    assert "There is none." in Page(page_text(run, evaluation=make_evaluation(wrong=0))).text


def test_a_damaged_picture_is_omitted_and_the_page_written(run):
    (run.directory / "augmentation.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    assert "Augmentation" not in Page(page_text(run)).words


def test_the_same_run_gives_the_same_bytes(run):
    assert page_text(run) == page_text(run)


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (percent, 0.9784, "97.8\u00a0%"),
        (percent, None, "–"),
        (percent, float("nan"), "–"),
        (duration, 8.26, "8.3\u00a0s"),
        (duration, 59.97, "1\u00a0min 0\u00a0s"),
        (duration, 440, "7\u00a0min 20\u00a0s"),
        (duration, 9060, "2\u00a0h 31\u00a0min"),
        (duration, None, "–"),
        (number, 15561, "15,561"),
        (number, 8.94, "8.94"),
        (number, None, "–"),
        (rate, 1e-3, "1e-3"),
        (rate, 0.0000656, "6.56e-5"),
        (rate, 0.0, "0e0"),
        (rate, float("nan"), "–"),
    ],
)
def test_figures_are_written_in_the_usual_notation(function, value, text):
    assert function(value) == text
