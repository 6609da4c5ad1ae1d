"""Classes with very few photos are named, and left out on request, wherever they appear."""

import pytest

from carclf.convert import rare_classes
from carclf.convert.converter import convert
from carclf.convert.options import ConvertOptions
from carclf.errors import UserError
from tests.convert.inputs import competition, converted, csv_of, drawn, ids_of, reasons, write_files


def uneven(*, sizes: dict[str, int]) -> dict[str, bytes]:
    names = [name for name, count in sizes.items() for _ in range(count)]
    return {f"{name}/{number}.jpg": drawn(number) for number, name in enumerate(names)}


SIZES = {"coupe": 5, "sedan": 6, "truck": 1, "van": 2}


def test_small_classes_are_left_out_with_a_note_and_their_photos_are_listed(tmp_path, capsys):
    source = write_files(tmp_path / "in", uneven(sizes=SIZES))
    manifest = converted(source, tmp_path / "out", min_photos_per_class=3)
    assert [(entry.name, entry.count) for entry in manifest.classes] == [("coupe", 5), ("sedan", 6)]
    assert set(ids_of(manifest).values()) == {"coupe", "sedan"}
    assert set(reasons(tmp_path / "out").values()) == {"its class has fewer than 3 training photos"}
    assert manifest.source["counts"]["train"]["read"] == 14
    assert manifest.source["counts"]["train"]["rejected"] == 3
    (note,) = manifest.source["notes"]
    assert note.startswith(
        "2 classes have fewer than 3 training photos and were left out, with their external photos: "
    )
    assert "truck (1), van (2). " in note
    assert f"Note: {note}" in capsys.readouterr().err


def test_the_words_of_the_reason_do_not_make_it_one_of_these(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(rare_classes, "reason", lambda least: "too few")
    files = uneven(sizes=SIZES) | {"van/9.jpg": b"its class has fewer than 3 training photos"}
    source = write_files(tmp_path / "in", files)
    manifest = converted(source, tmp_path / "out", min_photos_per_class=3, on_bad="skip")
    assert [entry.name for entry in manifest.classes] == ["coupe", "sedan"]
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("rejected: ")] == [
        "rejected: van/9.jpg: not an image (begins with b'its class has fe')"
    ]


def test_a_class_with_one_photo_is_named(tmp_path, capsys):
    converted(write_files(tmp_path / "in", uneven(sizes=SIZES)), tmp_path / "out")
    err = capsys.readouterr().err
    assert "Note: 1 class has a single training photo, so no figure tells how well it is recognised: " in err
    assert "truck (1); --min_photos_per_class=2 leaves such classes out." in err
    again = converted(tmp_path / "in", tmp_path / "other", min_photos_per_class=2)
    assert [entry.name for entry in again.classes] == ["coupe", "sedan", "van"]
    assert "single training photo" not in capsys.readouterr().err


@pytest.mark.parametrize("classes", ["van,truck,sedan,coupe", "sedan,coupe"])
def test_a_list_of_classes_may_name_those_that_are_left_out_or_not(tmp_path, classes):
    source = write_files(tmp_path / "in", uneven(sizes=SIZES))
    manifest = converted(source, tmp_path / "out", min_photos_per_class=3, classes=classes)
    assert [entry.name for entry in manifest.classes] == ["sedan", "coupe"]


def test_names_of_numbered_classes_stay_with_their_numbers(tmp_path):
    source = write_files(tmp_path / "in", uneven(sizes={"0": 4, "1": 1, "2": 4}))
    manifest = converted(source, tmp_path / "out", min_photos_per_class=2, classes="coupe,truck,van")
    named = [(entry.label, entry.category, entry.name) for entry in manifest.classes]
    assert named == [(0, "0", "coupe"), (1, "2", "van")]


def test_external_photos_of_a_small_class_are_left_out_and_do_not_count(tmp_path):
    source = write_files(tmp_path / "in", uneven(sizes={"coupe": 4, "van": 2}))
    extra = {f"{name}/x{number}.jpg": drawn(500 + number) for number, name in enumerate(["coupe", "van", "van", "van"])}
    external = write_files(tmp_path / "extra", extra)
    manifest = converted(source, tmp_path / "out", min_photos_per_class=3, external=str(external))
    assert manifest.photos("extra") == 1
    assert [entry.name for entry in manifest.classes] == ["coupe"]


def test_test_photos_stay_and_a_column_of_the_sample_is_kept(tmp_path):
    files = competition(9) | {"train/7/900.jpg": drawn(900)}
    del files["train.csv"]
    source = write_files(tmp_path / "in", files)
    manifest = converted(source, tmp_path / "out", min_photos_per_class=2)
    assert manifest.photos("test") == 4
    assert [entry.category for entry in manifest.classes] == ["0", "1", "2"]
    rows = [(f"{number}.jpg", "0,0,0,0") for number in range(1000, 1004)]
    sample = csv_of(rows, header="Id,0,1,2,7")
    for content in (sample, sample.replace(b",", b";")):
        (source / "sample-submission.csv").write_bytes(content)
        with pytest.raises(UserError, match=r"would leave out 7 \(1\), for which the sample submission has a column"):
            converted(source, tmp_path / "other", min_photos_per_class=2)
    assert not (tmp_path / "other" / "dataset.json").exists()


def test_at_least_one_class_is_left(tmp_path):
    source = write_files(tmp_path / "in", uneven(sizes=SIZES))
    with pytest.raises(UserError, match="--min_photos_per_class=7 leaves no class, since the largest has 6 training"):
        converted(source, tmp_path / "out", min_photos_per_class=7)


def test_bad_photos_still_stop_the_run_and_decide_how_many_a_class_has(tmp_path):
    source = write_files(tmp_path / "in", uneven(sizes={"coupe": 4, "van": 3}) | {"van/broken.jpg": b"\xff\xd8broken"})
    options = {"input": str(source), "output": str(tmp_path / "out"), "workers": 1, "min_photos_per_class": 4}
    with pytest.raises(UserError, match=r"1 photo cannot be used \(first: van/broken\.jpg"):
        convert(ConvertOptions(**options))
    manifest = converted(source, tmp_path / "out", min_photos_per_class=4, on_bad="skip")
    assert [entry.name for entry in manifest.classes] == ["coupe"]


def test_the_option_decides_the_fingerprint_only_where_it_is_used(tmp_path):
    source = write_files(tmp_path / "in", uneven(sizes=SIZES))
    plain = converted(source, tmp_path / "plain")
    assert "min_photos_per_class" not in plain.options
    assert converted(source, tmp_path / "other", min_photos_per_class=1).fingerprint != plain.fingerprint
