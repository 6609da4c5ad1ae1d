"""Whatever is wrong in dataset.json is named in one sentence."""

import json
import os
import shutil

import pytest

from carclf import hashed_json
from carclf.data.manifest import load_manifest
from carclf.errors import UserError
from tests.conftest import write_dataset
from tests.damage import flips, with_new_entries, with_wrong_types


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("manifest") / "set", folds=2, photos_a_fold=2, test_photos=1)


@pytest.fixture
def file(small, tmp_path):
    shutil.copytree(small.directory, tmp_path / "set")
    return tmp_path / "set" / "dataset.json"


def test_a_data_set_whose_folder_is_gone_says_so_and_is_read_once_it_is_back(file):
    folder, elsewhere = str(file.parent), str(file.parent.with_name("moved"))
    opened = load_manifest(folder)
    os.rename(folder, elsewhere)
    with pytest.raises(UserError, match=rf"The folder of the data set {folder} is gone: bring it back, or open the"):
        opened.read_ids("test")
    assert len(load_manifest(elsewhere).read_ids("test")) == 1
    os.rename(elsewhere, folder)
    assert len(opened.read_ids("test")) == 1


def test_a_flipped_bit_at_any_byte_is_named(file):
    with open(file, "r+b") as opened:  # opening takes longer than all the rest
        for number, changed in enumerate(flips(opened.read())):
            if number % 8 == number // 8 % 8:  # one bit of every byte
                os.pwrite(opened.fileno(), changed, 0)
                with pytest.raises(
                    UserError, match=r"dataset.json (is damaged \(.*\): copy|has (format|the older format) )"
                ):
                    load_manifest(str(file.parent))


def test_a_wrong_type_anywhere_in_a_file_without_hash_is_one_sentence_or_read(file):
    content = json.loads(file.read_text())
    del content["content_sha256"]
    refused = 0
    for changed in with_wrong_types(content):
        file.write_text(json.dumps(changed))
        try:
            manifest = load_manifest(str(file.parent))
            assert manifest.max_side
        except UserError as error:
            refused += "\n" not in str(error)
    assert refused > 200


def test_what_a_later_carclf_adds_is_read(file, small):
    content = json.loads(file.read_text())
    del content[hashed_json.HASH_KEY]
    content["form"] = {"kind": "label", "header": ["Id", "x"], "id_column": "Id", "answer_columns": ["x"]}
    changed = list(with_new_entries(content, without=("ids", "lists")))
    assert len(changed) >= 10  # the file, its classes, shards, index and form
    for content in changed:
        hashed_json.write(file, content)
        assert load_manifest(str(file.parent)).classes == small.classes


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda c: c["classes"].reverse(), r"classes\[0\].label is 2 instead of 0"),
        (lambda c: c["classes"].pop(0), r"classes\[0\].label is 1 instead of 0"),
        (lambda c: c["classes"][1].update(category="0"), "two classes have one category"),
        (lambda c: c["shards"][0].update(file="/etc/passwd"), "does not lie below the folder"),
        (lambda c: c["shards"][0].update(file="../x"), "does not lie below the folder"),
        (lambda c: c["shards"][0].update(file="a/../../x"), "does not lie below the folder"),
        (lambda c: c["shards"][0].update(file="gs://other/x"), "does not lie below the folder"),
        (lambda c: c["index"].update(file="C:\\x"), "does not lie below the folder"),
        (lambda c: c["lists"]["sample-submission"].update(file=""), "does not lie below the folder"),
        (lambda c: c["shards"][1].update(file=c["shards"][0]["file"]), "two shards are the same file"),
        (lambda c: c["shards"][0].update(fold=None), "is of split train and fold None"),
        (lambda c: c["shards"][0].update(split="val"), "is of split val and fold 0"),
        (lambda c: c["shards"][0].update(count=-3), "has a negative count"),
        (lambda c: c["shards"][0].update(count=3), "the shards have 7 photos and the index 5"),
        (lambda c: c.update(fingerprint="../../x"), "fingerprint is '../../x' instead of 64 hexadecimal digits"),
        (lambda c: c["options"].update(max_side=0), "options.max_side is below 1"),
        (lambda c: c["ids"].pop("test"), "ids.test is missing"),
        (
            lambda c: c.update(form={"kind": "label", "header": ["Id"], "answer_columns": ["Category"]}),
            "form.answer_columns and form.id_column are not all columns of form.header",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_types_do_not_tell_is_checked(file, change, sentence):
    content = json.loads(file.read_text())
    del content["content_sha256"]
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(
        UserError, match=rf"dataset.json is damaged \(.*{sentence}.*\): copy the data set again, or conv"
    ):
        load_manifest(str(file.parent))
