import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carclf.errors import UserError
from carclf.forms import Form, Sample, read_sample
from carclf.inference import submission
from carclf.inference.answer_form import given_sample, plan_form
from carclf.inference.comparison import read_submission

IDS = ["00012.jpg", "7.jpg", "NA", "ü, 1.jpg"]
PROBABILITIES = np.array([[0.1, 0.9], [0.8, 0.2], [0.4, 0.6], [1.0, 0.0]])
LABELS = ["0", "10"]


def write(path, **changes):
    arguments = {"output": path, "ids": IDS, "probabilities": PROBABILITIES, "class_labels": LABELS} | changes
    return submission.write_submission(**arguments)


def following(order, *, header=("Id", "Category")):
    """Returns the arguments for a sample with these Ids, in which every answer is 0."""
    rows = tuple((name, "0") for name in order)
    sample = Sample("sample.csv", header, rows, tuple(order), header[0])
    return {"sample": sample, "form": Form("label", header, header[1:])}


def test_the_sample_decides_header_and_order(tmp_path):
    order = IDS[::-1]
    written = write(tmp_path / "s.csv", **following(order, header=("image", "model")))
    assert written == dict(zip(order, [("0",), ("10",), ("0",), ("10",)], strict=True))
    assert list(written) == order
    frame = pd.read_csv(tmp_path / "s.csv", dtype=str, keep_default_na=False)
    assert list(frame.columns) == ["image", "model"]
    assert frame["image"].tolist() == order
    assert frame["model"].tolist() == ["0", "10", "0", "10"]


def test_line_ends_equal_those_of_the_competition(tmp_path):
    write(tmp_path / "s.csv")
    content = (tmp_path / "s.csv").read_bytes()
    assert content.startswith(b"Id,Category\n00012.jpg,10\n")
    assert b"\r" not in content


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (following(IDS[:3]), "1 photo is not in the sample, such as 'ü, 1.jpg'"),
        (following([*IDS, "foreign.jpg"]), "1 Id of the sample has no photo, such as 'foreign.jpg'"),
        ({"ids": ["7.jpg", *IDS[1:]]}, "Two photos have the same Id"),
        ({"probabilities": np.where(PROBABILITIES == 0.6, np.nan, PROBABILITIES)}, r"not finite \(first: NA\)"),
        ({"probabilities": np.full((4, 2), np.inf)}, "4 photos have probabilities that are not finite"),
    ],
)
def test_after_an_error_no_file_is_written_and_an_old_one_stays(tmp_path, changes, text):
    path = tmp_path / "s.csv"
    path.write_text("old")
    with pytest.raises(UserError, match=text):
        write(path, **changes)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["s.csv"]


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), min_size=1), min_size=1, unique=True)
)
def test_any_id_survives_the_round_trip(tmp_path_factory, ids):
    path = tmp_path_factory.mktemp("ids") / "s.csv"
    probabilities = np.tile([0.3, 0.7], (len(ids), 1))
    submission.write_submission(output=path, ids=ids, probabilities=probabilities, class_labels=LABELS)
    written = read_sample(path.read_bytes(), shown="s.csv")
    assert (written.header, written.ids) == (("Id", "Category"), tuple(ids))


SAMPLE = Sample(
    "s.csv", ("Usage", "id", "B", "A"), (("Public", "NA", "0", "1"), ("Private", "7.jpg", "0", "1")),
    ("NA", "7.jpg"), "id", ";",
)  # fmt: skip
COLUMNS = Form("probabilities", SAMPLE.header, ("B", "A"), column_classes=("10", "0"), id_column="id")
TWO = {"ids": ["7.jpg", "NA"], "probabilities": PROBABILITIES[:2]}


def test_other_columns_and_the_delimiter_are_those_of_the_sample(tmp_path):
    write(tmp_path / "s.csv", form=COLUMNS, sample=SAMPLE, **TWO)
    lines = (tmp_path / "s.csv").read_text().splitlines()
    assert lines == ["Usage;id;B;A", "Public;NA;0.2;0.8", "Private;7.jpg;0.9;0.1"]


def test_without_a_sample_only_ids_and_answers_are_written(tmp_path):
    write(tmp_path / "s.csv", form=COLUMNS, **TWO)
    assert (tmp_path / "s.csv").read_text().splitlines() == ["id,B,A", "7.jpg,0.9,0.1", "NA,0.2,0.8"]


def test_a_sample_of_ids_gets_the_columns_of_the_form(tmp_path):
    sample = Sample("s.csv", ("id",), (("NA",), ("7.jpg",)), ("NA", "7.jpg"), "id")
    write(tmp_path / "s.csv", form=Form("label", ("id", "label"), ("label",)), sample=sample, **TWO)
    assert (tmp_path / "s.csv").read_text().splitlines() == ["id,label", "NA,0", "7.jpg,10"]


def test_the_answers_for_a_sample_without_header_have_none(tmp_path):
    (tmp_path / "s.tsv").write_text("NA\t0\n7.jpg\t0\n")
    own = Form("label", ("column 1", "column 2"), ("column 2",), has_header=False)
    plan = plan_form(own, given_sample(str(tmp_path / "s.tsv"), own=own), class_labels=LABELS, form="auto", positive="")
    written = write(tmp_path / "out.csv", form=plan.form, sample=plan.sample, **TWO)
    assert (tmp_path / "out.csv").read_text() == "NA\t0\n7.jpg\t10\n"
    assert read_submission(tmp_path / "out.csv", form=plan.form, class_labels=LABELS) == written
    assert plan.form.describe() == "label, column 2, without a header"
    asked = plan_form(own, None, class_labels=LABELS, form="ranking(2)", positive="")
    write(tmp_path / "fold.csv", form=asked.form, **TWO)
    assert (tmp_path / "fold.csv").read_text() == "7.jpg,10 0\nNA,0 10\n"


def test_a_label_that_was_decided_on_is_written(tmp_path):
    assert write(tmp_path / "s.csv", labels=np.array([0, 1, 0, 1]))["00012.jpg"] == ("0",)


def test_a_sample_without_a_column_of_the_form_is_refused(tmp_path):
    form = Form("label", ("id", "Usage", "label"), ("label",))
    sample = Sample("s.csv", ("id", "label"), (("NA", ""), ("7.jpg", "")), ("NA", "7.jpg"), "id")
    with pytest.raises(UserError, match=r"s\.csv has no column 'Usage', but the form of the answers does"):
        write(tmp_path / "s.csv", form=form, sample=sample, **TWO)
    whole = Sample("s.csv", form.header, (("NA", "p", ""), ("7.jpg", "p", "")), ("NA", "7.jpg"), "id")
    assert len(write(tmp_path / "s.csv", form=form, sample=whole, **TWO)) == 2


@pytest.mark.parametrize(
    ("cells", "text"), [(("0.5", "0.6"), r"\(its probabilities sum to 1.1000\)"), (("1",), r"\(it has 1 cells\)")]
)
def test_the_gate_names_the_photo_and_what_is_wrong(cells, text):
    with pytest.raises(UserError, match=f"The answer for x is not the probability of every class.* {text}, so nothing"):
        submission.check_answers({"x": cells}, form=COLUMNS, class_labels=LABELS)


def test_the_error_for_an_unwritable_output_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="could not be written"):
        write(tmp_path / "file" / "s.csv")


def test_probabilities_come_with_top_class_and_margin(tmp_path):
    submission.write_probabilities(
        output=tmp_path / "p.csv", ids=IDS, probabilities=PROBABILITIES, class_names=["saloon", "van"]
    )
    frame = pd.read_csv(tmp_path / "p.csv", dtype={"Id": str}, keep_default_na=False)
    assert frame["Id"].tolist() == IDS
    assert frame[["saloon", "van"]].to_numpy() == pytest.approx(PROBABILITIES)
    assert frame["top_class"].tolist() == ["van", "saloon", "van", "saloon"]
    assert frame["margin"].tolist() == pytest.approx([0.8, 0.6, 0.2, 1.0])


def probabilities_in(path, **changes):
    arguments = {"output": path, "ids": IDS, "probabilities": PROBABILITIES, "class_names": ["saloon", "van"]} | changes
    submission.write_probabilities(**arguments)


def test_probabilities_follow_the_sample_too(tmp_path):
    probabilities_in(tmp_path / "p.csv", order=IDS[::-1])
    frame = pd.read_csv(tmp_path / "p.csv", dtype={"Id": str}, keep_default_na=False)
    assert frame["Id"].tolist() == IDS[::-1]
    assert frame["van"].tolist() == pytest.approx(PROBABILITIES[::-1, 1])
    with pytest.raises(UserError, match="do not have the same Ids"):
        probabilities_in(tmp_path / "other.csv", order=IDS[1:])
    assert [path.name for path in tmp_path.iterdir()] == ["p.csv"]


def test_a_class_with_the_name_of_another_column_keeps_its_own(tmp_path):
    probabilities_in(tmp_path / "p.csv", class_names=["Id", "margin"])
    frame = pd.read_csv(tmp_path / "p.csv", dtype={"Id": str}, keep_default_na=False)
    assert list(frame.columns) == ["Id", "class Id", "class margin", "top_class", "margin"]
    assert frame["class margin"].tolist() == pytest.approx(PROBABILITIES[:, 1])


def test_parquet_has_the_same_content_as_csv(tmp_path):
    pytest.importorskip("pyarrow")
    probabilities_in(tmp_path / "p.parquet")
    probabilities_in(tmp_path / "p.csv")
    frame = pd.read_csv(tmp_path / "p.csv", dtype={"Id": str, "top_class": str}, keep_default_na=False)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "p.parquet"), frame, check_dtype=False)


def test_the_error_for_a_missing_pyarrow_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(submission.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="Parquet needs pyarrow"):
        probabilities_in(tmp_path / "p.parquet")
    assert not list(tmp_path.iterdir())


# A process that is killed while it writes the new file: half of it is next to the old one.
KILLED = """
import os, sys
import numpy as np
from pathlib import Path
from carclf.inference.submission import write_submission
os.fsync = lambda handle: os.kill(os.getpid(), 9)
write_submission(
    output=Path(sys.argv[1]), ids=["a", "b"], probabilities=np.eye(2), class_labels=["0", "1"]
)
"""


def test_killed_while_writing_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("old")
    answer = subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=Path(__file__).parents[2])
    assert answer.returncode == -9
    assert path.read_text() == "old"


def test_classes_that_are_called_as_other_columns_keep_columns_of_their_own(tmp_path):
    submission.write_probabilities(
        output=tmp_path / "p.csv",
        ids=["a"],
        probabilities=np.array([[0.1, 0.2, 0.3, 0.4]]),
        class_names=["Id", "class Id", "class class Id", "margin"],
    )
    frame = pd.read_csv(tmp_path / "p.csv")
    assert frame.columns.tolist() == [
        "Id", "class class class Id", "class Id", "class class Id", "class margin", "top_class", "margin",
    ]  # fmt: skip
    assert frame.iloc[0, 1:5].tolist() == [0.1, 0.2, 0.3, 0.4]
