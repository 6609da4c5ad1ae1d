"""The ledger: its rows name flag files that train, it measures what is missing, and its page has the right figures."""

import sys
from pathlib import Path

import pytest

from carclf.command import parse_command_line
from carclf.errors import UserError
from carclf.flags import to_dict
from carclf.train_options import TrainOptions

ROOT = Path(__file__).parent.parent
FLAG_FILES = ROOT / "stages" / "ledger"


@pytest.fixture
def modules(monkeypatch):
    """Returns the modules ledger, ledger_page and ledger_rows of benchmarks/."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import ledger
    import ledger_page
    import ledger_rows

    yield ledger, ledger_page, ledger_rows
    for name in ("held_out", "ledger", "ledger_page", "ledger_rows", "measuring"):
        sys.modules.pop(name, None)


def options_of(name: str) -> TrainOptions:
    return parse_command_line(TrainOptions, [f"--flagfile={FLAG_FILES / name}.flags"], description="")


def figure(row: str, right: str, *, fold: int = 0, seconds: float = 10.0) -> dict:
    case = {"data": "cars", "backbone": "tiny", "image_size": "32", "fold": fold, "seed": 42}
    return {"row": row, **case, "right": right, "seconds": seconds}


def test_every_row_has_its_flag_files_and_every_file_a_row(modules):
    _, _, rows = modules
    used = {name for row in rows.ROWS for name in row.runs} - {rows.PROBE}
    while new := {parent for name in used if (parent := options_of(name).init_from)} - used:
        used |= new
    assert used == {path.stem for path in FLAG_FILES.glob("*.flags")}
    names = [row.name for row in rows.ROWS]
    assert all(not row.against or row.against in names[:number] for number, row in enumerate(rows.ROWS))


EPOCHS = {"regression_head": 0, "longer": 2, "third": 0.5, "finer": 1.5}  # in those of the notebook; of others 1


def epochs_of(name: str) -> int:
    """Returns the epochs of a run after its head."""
    stage = options_of(name)
    return 0 if stage.unfreeze == "head" else stage.epochs + epochs_of(stage.init_from)


def test_a_row_trains_as_long_as_the_row_it_is_compared_with(modules):
    _, _, rows = modules
    for row in rows.ROWS:
        for name in set(row.runs) - {rows.PROBE}:
            assert epochs_of(name) == EPOCHS.get(name, 1) * epochs_of("notebook")
            assert options_of(name).batch_size == (16 if name == "batch16" else 32)


def test_a_row_changes_what_its_file_says():
    def differing(name: str, other: str) -> set[str]:
        one, two = to_dict(options_of(name)), to_dict(options_of(other))
        return {key for key in one if one[key] != two[key]}

    assert differing("regression", "notebook") == {"init_from"}
    assert differing("softened", "regression") == {"head_temperature", "head_momentum"}
    assert differing("cosine", "softened") == {"amsgrad", "learning_rate", "schedule", "warmup_epochs"}
    assert differing("milder", "cosine") == {"augment"}
    assert differing("smoothing", "milder") == {"label_smoothing"}
    assert differing("batch16", "milder") == {"batch_size"}
    assert differing("higher", "milder") == {"learning_rate"}
    assert differing("clipped", "milder") == {"clip_norm"}
    assert differing("warmer", "milder") == {"warmup_epochs"}
    assert differing("momentum", "milder") == {"optimizer", "learning_rate"}
    assert differing("batch_norm", "higher") == {"train_batch_norm"}
    assert differing("statistics", "batch_norm") == {"swa_epochs"}
    assert differing("less_l2", "milder") == {"l2"}
    assert differing("wider", "milder") == {"init_from", "head_width"}
    assert differing("wider_head", "regression_head") == {"head_width"}
    assert differing("finer", "milder") == {"init_from", "epochs", "warmup_epochs", "learning_rate"}
    assert differing("layers", "milder") == {"learning_rate", "lr_decay_by_block"}
    for name in ("mixup", "cutmix", "erase", "trivial"):
        assert differing(name, "milder") == {"augment"}
    for name in ("linear", "attention"):
        assert differing(name, "milder") == {"init_from", "head"}
        assert differing(f"{name}_head", "regression_head") == {"head"}
    assert differing("no_l2", "milder") == {"l2"}
    assert differing("longer", "milder") == {"epochs"}
    assert differing("third", "linear") == {"init_from", "unfreeze", "epochs", "learning_rate", "warmup_epochs"}
    assert differing("third_head", "linear_head") == {"augment"}
    assert differing("ema", "milder") == {"ema_momentum"}
    assert differing("swa", "milder") == {"swa_epochs"}
    assert differing("growing", "milder") == set()  # its row has the sizes
    assert differing("half", "milder") == {"unfreeze", "epochs"}
    assert differing("chain", "milder") == {"init_from", "head_temperature", "epochs"}


def test_a_larger_view_has_an_eighth_more_pixels_a_side(modules, monkeypatch, tmp_path):
    ledger, _, rows = modules
    calls = []
    monkeypatch.setattr(ledger, "run_python", lambda *words: calls.append(words))
    monkeypatch.setattr(ledger, "train", lambda *arguments, **named: None)
    monkeypatch.setattr(ledger, "correct", lambda *arguments: [True])
    (row,) = rows.find_rows("larger")
    for size, views in (("128", "size(144)"), ("96x128", "size(108,144)")):
        case = ledger.Case(Path("cars"), "tiny", size, 0, 42)
        ledger.measure(ledger.LedgerOptions(data="cars"), row, case, tmp_path)
        assert f"--tta={views}" in calls.pop()


@pytest.mark.parametrize(
    ("stage", "size", "sizes"),
    [
        ("growing", "96", "64-96"),
        ("growing", "96x128", "64x85-96x128"),
        ("finer", "224", "288"),
        ("finer", "96x128", "123x165"),
        ("milder", "96", "96"),
    ],
)
def test_a_stage_has_its_size_and_its_parents_that_of_the_others(modules, monkeypatch, tmp_path, stage, size, sizes):
    ledger, _, _ = modules
    calls = []
    monkeypatch.setattr(ledger, "run_python", lambda *words: calls.append(words))
    monkeypatch.setattr(ledger, "seconds_of", lambda directory: 1.0)
    case = ledger.Case(Path("cars"), "tiny", size, 0, 42)
    ledger.train(ledger.LedgerOptions(data="cars"), stage, case, tmp_path, {})
    assert f"--image_size={sizes}" in calls.pop()
    assert calls
    assert all(f"--image_size={size}" in call for call in calls), "its parents are trained once for all rows"


def test_a_soup_is_one_run_of_all_its_row_names(modules, monkeypatch, tmp_path):
    ledger, _, rows = modules
    calls = []
    monkeypatch.setattr(ledger, "run_python", lambda *words: calls.append(words))
    monkeypatch.setattr(ledger, "train", lambda *arguments, **named: None)
    monkeypatch.setattr(ledger, "correct", lambda *arguments: [True])
    (row,) = rows.find_rows("soup")
    ledger.measure(ledger.LedgerOptions(data="cars"), row, ledger.Case(Path("cars"), "tiny", "32", 0, 42), tmp_path)
    (folder,) = tmp_path.glob("cars/*")
    soup, predict = calls
    assert soup[1] == "carclf.soup"
    assert {"--run=cosine,milder", "--method=uniform", f"--output={folder / 'soup_averaged'}"} <= {*soup}
    assert predict[1] == "carclf.predict"
    assert "--run=soup_averaged" in predict


def test_the_page_pools_folds_and_compares_the_same_photos(modules):
    _, page, _ = modules
    figures = [
        figure("notebook", "1100", seconds=10.0),
        figure("notebook", "1000", fold=1, seconds=30.0),
        figure("regression", "1111", seconds=20.0),
        figure("regression", "0111", fold=1, seconds=20.0),
        figure("softened", "1111"),  # its second fold is still missing
    ]
    lines = {line.split("`")[1]: line for line in page.table(figures).splitlines() if "| `" in line}
    assert "| 0.375 | 0.14–0.69 | – | – | – | 20 |" in lines["notebook"]
    assert "| 0.875 | 0.53–0.98 | `notebook` | +5 −1 | 0.22, noise | 20 |" in lines["regression"]
    assert "learns (only fold 0) | 1.000 | 0.51–1.00 | `regression` | +0 −0 | 1, noise | 10 |" in lines["softened"]
    assert sum("(only" in line for line in lines.values()) == 1
    assert page.table(figures).startswith("8 held-out photos, folds 0, 1.")


def test_a_clear_effect_is_not_called_noise(modules):
    _, page, _ = modules
    text = page.table([figure("notebook", "0" * 12), figure("regression", "1" * 12)])
    assert "| +12 −0 | 0.00049 | 10 |" in text


def test_what_is_measured_is_not_measured_again(modules, monkeypatch, tmp_path, capsys):
    ledger, *_ = modules
    monkeypatch.setattr(ledger, "load_manifest", lambda path: None)
    measured = []

    def measure(options, row, case, work):
        measured.append((row.name, case.fold))
        return {"right": "10", "seconds": 1.0}

    monkeypatch.setattr(ledger, "measure", measure)
    options = ledger.LedgerOptions(data="cars", rows="notebook,regression", folds=1, work=str(tmp_path))
    ledger.main(options)
    ledger.main(ledger.dataclasses.replace(options, folds=2, output=str(tmp_path / "page.md"), note="Two cores."))
    assert measured == [("notebook", 0), ("regression", 0), ("notebook", 1), ("regression", 1)]
    assert "cars mobilenet_v2 224 px fold 1, regression: 0.500 in 1 s\n" in capsys.readouterr().out
    text = (tmp_path / "page.md").read_text()
    assert "\n\nTwo cores.\n\n## In short\n\n| | logistic" in text
    assert "\n| cars, mobilenet_v2, 224 px | – | 0.500 in 1 s | – | – | – |\n\n## cars, mobilenet_v2, 224 px" in text
    assert ledger.read_figures(tmp_path / "page.json") == ledger.read_figures(tmp_path / "figures.json")


@pytest.mark.parametrize(("right", "said"), [("1110", "as"), ("1000", "as"), ("0000", "not")])
def test_a_figure_is_compared_with_the_one_shown(modules, monkeypatch, tmp_path, capsys, right, said):
    ledger, *_ = modules
    monkeypatch.setattr(ledger, "load_manifest", lambda path: None)
    monkeypatch.setattr(ledger, "measure", lambda *arguments: {"right": right, "seconds": 1.0})
    shown = [figure("notebook", "1111", fold=1), figure("milder", "1111"), figure("notebook", "1100")]
    ledger.write_figures(tmp_path / "page.json", shown)
    ledger.main(
        ledger.LedgerOptions(
            data="cars",
            backbones="tiny@32=none",
            rows="notebook",
            folds=1,
            work=str(tmp_path),
            output=str(tmp_path / "page.md"),
        )
    )
    assert f"in 1 s; {said} on the page, 0.500 (0.15–0.85)\n" in capsys.readouterr().out


def test_all_rows_are_screened_and_some_confirmed_with_every_backbone(modules, monkeypatch):
    ledger, _, rows = modules
    monkeypatch.setattr(ledger, "load_manifest", lambda path: None)
    options = ledger.LedgerOptions(data="a/cars,a/adverts", backbones="tiny@32=none,mobilenet_v2=imagenet", folds=2)
    planned = [(row.name, *case.key.values()) for row, case in ledger.plan(options)]
    screened = [(row.name, data, "tiny", "96", 0, 42) for data in ("cars", "adverts") for row in rows.ROWS]
    confirmed = [
        (row.name, data, *backbone, fold, 42)
        for fold in (0, 1)
        for backbone in (("tiny", "32"), ("mobilenet_v2", "224"))
        for data in ("cars", "adverts")
        for row in rows.ROWS
        if row.confirmed
    ]
    assert planned == screened + confirmed
    assert list(ledger.plan(ledger.dataclasses.replace(options, screen_size=""))) == [
        one for one in ledger.plan(options) if one[1].image_size != "96"
    ]
    only = ledger.dataclasses.replace(options, rows="longer", folds=1, data="cars")
    assert [(row.name, case.image_size, case.weights) for row, case in ledger.plan(only)] == [
        ("longer", "32", "none"),
        ("longer", "224", "imagenet"),
    ]


def test_the_page_shows_the_figures_kept_beside_it(modules, tmp_path):
    ledger, page, _ = modules
    text = (ROOT / "docs" / "ledger.md").read_text(encoding="utf-8")
    figures = ledger.read_figures(ROOT / "docs" / "ledger.json")
    assert len(figures) > 100
    page.write_page(tmp_path / "page.md", figures)
    tables = (tmp_path / "page.md").read_text(encoding="utf-8").split("\n\n", maxsplit=2)[2]
    assert tables in text


def test_what_was_left_out_is_written_by_hand_and_kept(modules, tmp_path):
    _, page, _ = modules
    path, section = tmp_path / "page.md", "## Tried and left out\n\nSomething that won nothing.\n"
    page.write_page(path, [figure("notebook", "10")])
    path.write_text(f"{path.read_text()}\n{section}")
    page.write_page(path, [figure("notebook", "11")])
    text = path.read_text()
    assert "| 1.000 |" in text
    assert text.endswith(f"|\n\n{section}")
    page.write_page(path, [figure("notebook", "11")])
    assert path.read_text() == text


def test_a_row_that_is_not_there_is_named(modules):
    _, _, rows = modules
    with pytest.raises(UserError, match="there is no row 'notebok'; did you mean notebook"):
        rows.find_rows("notebok")


def test_answers_are_compared_with_the_labels_of_their_ids(modules, tmp_path):
    from held_out import compare_right, correct

    (tmp_path / "ids-train.csv").write_text("id,class_name\na,1\nb,2\nc,1\n")
    (tmp_path / "answers.csv").write_text("Id,Category\nc,1\na,2\nb,2\n")
    assert correct(tmp_path, tmp_path / "answers.csv") == [True, False, True]
    assert compare_right([True, True, False, True], [False, True, True, False]) == (2, 1, 1.0)
