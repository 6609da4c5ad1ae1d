import json

import pytest

from carclf import hashed_json
from carclf.files import write_json
from tests.damage import flips

CONTENT = {"b": [1, 2.5, None, "é\ud83d\ude97".encode("utf-16", "surrogatepass").decode("utf-16")], "a": {"x": True}}


def read(content: bytes):
    parsed = hashed_json.parse(content)
    return hashed_json.take_hash(parsed), parsed


def test_content_comes_back_with_or_without_its_hash(tmp_path):
    hashed_json.write(tmp_path / "x.json", CONTENT)
    assert read((tmp_path / "x.json").read_bytes()) == (True, CONTENT)
    assert read(json.dumps(CONTENT).encode()) == (False, CONTENT)


def test_a_path_that_is_not_utf_8_comes_back(tmp_path):
    content = {"directory": "photos-\udcff", "name": "é"}
    hashed_json.write(tmp_path / "x.json", content)
    assert read((tmp_path / "x.json").read_bytes()) == (True, content)
    write_json(tmp_path / "y.json", content)
    assert json.loads((tmp_path / "y.json").read_text(encoding="utf-8")) == content


def test_spaces_key_order_and_a_byte_order_mark_change_nothing():
    hashed = json.loads(hashed_json.to_bytes(CONTENT))
    moved = json.dumps(dict(reversed(hashed.items())), indent=7)
    assert read(moved.replace("\n", "\r\n").encode("utf-8-sig")) == (True, CONTENT)


def test_every_flipped_bit_is_noticed():
    for changed in flips(hashed_json.to_bytes(CONTENT)):
        try:
            hashed, content = read(changed)
        except ValueError:
            continue
        assert not hashed, changed  # the name of the hash itself: readers refuse a key that they do not know
        assert set(content) - set(CONTENT), changed


def test_keys_that_are_no_texts_are_hashed_as_they_are_read():
    assert read(hashed_json.to_bytes({10: 1, 9: 2})) == (True, {"10": 1, "9": 2})


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"[1]", "does not hold a JSON object"),
        (b"[" * 100_000, "nested too deeply|recursion"),
        (b"\xff", "utf-8"),
        (b"", "Expecting value"),
    ],
    ids=["a list", "deep", "no UTF-8", "empty"],
)
def test_what_is_no_json_object_is_a_value_error(content, sentence):
    with pytest.raises(ValueError, match=sentence):
        hashed_json.parse(content)


def test_a_missing_hash_is_noted_once_a_file(capsys):
    for _ in range(2):
        hashed_json.note_missing_hash("a.json", "doing b adds one")
    assert capsys.readouterr().err == (
        "Note: a.json is of an older carclf and has no hash, so damage to it is not noticed: doing b adds one.\n"
    )
