"""Samples, submissions and lists of photos that are refused, and what the error advises, done."""

import contextlib
import io
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from texts import refused

from carclf.data.label_patch import read_label_patch
from carclf.forms import Form, read_sample, read_sample_file, recognise
from carclf.inference.comparison import check_same_ids, read_submission
from carclf.inference.photo_files import photo_files
from carclf.inference.photo_list import list_photos
from carclf.inference.submission import check_answers, check_ids
from carclf.text_file import read_text

GOOD = b"Id,Category\n1,a\n2,b\n"
PROBABILITIES = Form(
    kind="probabilities", header=("Id", "a", "b"), answer_columns=("a", "b"), column_classes=("a", "b")
)


def zipped(*names: str) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name in names:
            archive.writestr(name, GOOD)
    return memory.getvalue()


FILES = [
    ("forms/sample_file.py: … holds … files", zipped("a.csv", "b.csv"), zipped("a.csv")),
    ("forms/sample_file.py: … cannot be unpacked", zipped("a.csv")[:40], zipped("a.csv")),
    ("forms/sample_file.py: … is not UTF-8", b"Id,Category\n1,\xe4\n", "Id,Category\n1,ä\n".encode()),
    ("forms/sample_file.py: … is not CSV", b'Id,Category\n"1', GOOD),
    ("forms/sample_file.py: … has no rows", b"Id,Category\n", GOOD),
    ("forms/sample_file.py: … has the column", b"Id,Id\n1,a\n", GOOD),
    ("forms/sample_file.py: … line … has … of", GOOD + b"3\n", GOOD),
    ("forms/sample_file.py: … line … has no Id", GOOD + b",a\n", GOOD),
    ("forms/sample_file.py: … has the Id", GOOD + b"1,a\n", GOOD),
]


@pytest.mark.parametrize(("text", "content", "corrected"), FILES, ids=[text for text, _, _ in FILES])
def test_a_file_is_read_once_corrected(text, content, corrected):
    with refused(text):
        read_sample(content, shown="sample.csv")
    assert read_sample(corrected, shown="sample.csv").header == ("Id", "Category")


def test_a_sample_is_the_one_that_is_given(tmp_path):
    path = tmp_path / "sample.csv"
    with refused("forms/sample_file.py: There is no"):
        read_sample_file(path, what="sample submission", advice="give another")
    path.write_bytes(GOOD)
    with refused("forms/sample_file.py: … has no column"):
        read_sample_file(path, what="sample submission", advice="give another", id_column="id")
    assert read_sample_file(path, what="sample submission", advice="", id_column="Id").ids == ("1", "2")


class Case(NamedTuple):
    """A sample, as (header, cell in each row), that is refused; what is taken instead, of sample or options."""

    text: str
    sample: tuple[str, str]
    options: dict[str, Any]
    told: dict[str, Any]


TWO = {"classes": ["a", "b"]}
CASES = [
    Case("forms/labels.py: … does not show", ("Id,label", ""), TWO | {"form": "ranking"}, {"form": "ranking(5)"}),
    Case("forms/labels.py: A cell of several", ("Id,label", ""), {"classes": ["a b", "c"], "form": "ranking(2)"},
         {"form": "label"}),
    Case("forms/labels.py: --form", ("Id,top1,top2", "a,b"), TWO | {"form": "ranking(5)"}, {"form": "ranking"}),
    Case("forms/probabilities.py: The form probability", ("Id,p", "0.5"),
         {"classes": ["a", "b", "c"], "form": "probability"}, {"form": "label"}),
    Case("forms/probabilities.py: --positive", ("Id,p", "0.5"), TWO | {"positive": "x"}, {"positive": "b"}),
    Case("forms/probabilities.py: … has columns", ("Id,a,b", "0.5,0.5"), {"classes": ["a", "b", "c"]},
         {"sample": ("Id,a,b,c", "0.2,0.3,0.5")}),
    Case("forms/probabilities.py: … has columns", ("Id,a,b", "0.5,0.5"), {"classes": ["a", "b", "c"]}, TWO),
    Case("forms/recognition.py: --positive", ("Id,label", "a"), TWO | {"positive": "b"}, {"positive": ""}),
    Case("forms/recognition.py: Every", ("Id,label", "0"), {"classes": ["0", "1"]}, {"form": "probability"}),
    Case("forms/recognition.py: Every", ("Id,label", "0"), {"classes": ["0", "1"]}, {"form": "label"}),
    Case("forms/recognition.py: … has numbers", ("Id,label", "0"), TWO, {"form": "label"}),
    Case("forms/recognition.py: … has numbers", ("Id,label", "0"), TWO, {"classes": ["0", "1", "2"]}),
    Case("forms/recognition.py: … has … in the column", ("Id,label", "z"), TWO, {"form": "label"}),
    Case("forms/recognition.py: … has … in the column", ("Id,label", "z"), TWO, {"classes": ["a", "z"]}),
    Case("forms/evidence.py: ", ("Id,x,y", "0.1,0.2"), TWO, {"sample": ("Id,x", "0.1")}),
    Case("forms/evidence.py: ", ("Id,x1,x2", "z,a"), TWO, {"form": "ranking"}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.text}-{case.told}")
def test_a_form_is_recognised_as_advised(case):
    def take(options: dict[str, Any]) -> Form:
        (header, cells), given = options["sample"], {key: options[key] for key in options if key != "sample"}
        content = "\n".join([header, *(f"{row},{cells}" for row in (1, 2)), ""]).encode()
        return recognise(read_sample(content, shown="sample.csv"), **given).form

    options = {"sample": case.sample, **case.options}
    with refused(case.text):
        take(options)
    assert take(options | case.told).header[0] == "Id"


# Submissions and other lists


def test_an_older_submission_is_of_this_form_and_these_photos(tmp_path):
    older = tmp_path / "old.csv"

    def read(text: str) -> dict[str, tuple[str, ...]]:
        older.write_text(text)
        return read_submission(older, form=PROBABILITIES, class_labels=["a", "b"])

    with refused("inference/comparison.py: … has no column"):
        read("Id,a\n1,1\n")
    with refused("inference/comparison.py: … has an answer"):
        read("Id,a,b\n1,1,?\n")
    answers = read("Id,a,b\n1,1,0\n")
    with refused("inference/comparison.py: … and this prediction"):
        check_same_ids(answers, ["1", "2"], path=older)
    check_same_ids(answers, ["1"], path=older)


def test_the_data_set_and_the_sample_are_of_the_same_photos():
    with refused("inference/submission.py: The data set and the sample"):
        check_ids(["1", "2"], order=["1", "3"])
    check_ids(["1", "2"], order=["2", "1"])
    with refused("inference/submission.py: The answer for"):
        check_answers({"1": ("1", "1")}, form=PROBABILITIES, class_labels=["a", "b"])
    check_answers({"1": ("1", "0")}, form=PROBABILITIES, class_labels=["a", "b"])


def test_a_patch_names_photos_and_classes_of_the_data_set_once(dataset, tmp_path):
    patch = tmp_path / "patch.csv"
    with refused("data/label_patch.py: The label patch … cannot be read"):
        read_label_patch(patch, dataset)
    good = "id,class\ntrain000.jpg,class 1\n"
    for text, content in (
        ("data/label_patch.py: The label patch … has no column", "id,kind\ntrain000.jpg,class 1\n"),
        ("data/label_patch.py: …, line …: the data set has no", f"{good}nobody.jpg,class 1\n"),
        ("data/label_patch.py: …, line …: there is no class", "id,class\ntrain000.jpg,class 9\n"),
        ("data/label_patch.py: …, line …: the photo", f"{good}train000.jpg,class 2\n"),
    ):
        patch.write_text(content)
        with refused(text):
            read_label_patch(patch, dataset)
        patch.write_text(good)
        assert read_label_patch(patch, dataset).labels == {0: 1}


def test_photos_are_given_as_files_folders_or_archives(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").touch()
    with refused("inference/photo_files.py: There is no photo"):
        photo_files(str(tmp_path / "gone.jpg"))
    with refused("inference/photo_files.py: --photo"):
        photo_files(str(tmp_path / "empty"))
    assert len(photo_files(f"{tmp_path}/photos,{tmp_path}/photos/1.jpg")) == 2
    with refused("inference/photo_list.py: There is no photo"):
        list_photos(str(tmp_path / "empty"), sample=None, spool="")
    with refused("inference/photo_list.py: None of the"):
        list_photos(str(tmp_path / "photos"), sample=read_sample(b"Id\n7\n", shown="s.csv"), spool="")
    for sample, taken in ((b"1.jpg,a\n2.jpg,a\n", False), (b"Id,Category\n1.jpg,a\n2.jpg,a\n", True)):
        read = read_sample(sample, shown="s.csv")
        with contextlib.nullcontext() if taken else refused("inference/photo_list.py: … has no header"):
            assert list_photos(str(tmp_path / "photos"), sample=read, spool="").ids == ("1.jpg", "2.jpg")
    (tmp_path / "right").mkdir()
    (tmp_path / "right" / "7.jpg").touch()
    for folder, sample in (("photos", None), ("right", read_sample(b"Id\n7\n", shown="s.csv"))):
        assert len(list_photos(str(tmp_path / folder), sample=sample, spool="").ids) == 1


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("text_file.py: The … … cannot be read", None),
        ("text_file.py: The … … is not … text", b"--epochs=3 \xe4"),
        ("text_file.py: The … … is not text (it holds", b"--epochs=3\0"),
    ],
)
def test_a_text_is_saved_as_utf_8(tmp_path: Path, text: str, content: bytes | None):
    path = tmp_path / "base.flags"
    if content:
        path.write_bytes(content)
    with refused(text):
        read_text(path, what="flag file")
    path.write_text("--epochs=3 ä", encoding="utf-8")
    assert read_text(path, what="flag file") == "--epochs=3 ä"
