"""A dry run validates like a real run, with the same exit code, and writes nothing."""

import pytest

from carclf.convert.converter import convert
from carclf.convert.options import ConvertOptions
from carclf.errors import UserError
from tests.convert.inputs import class_folders, converted, drawn, tree, write_files


def options(tmp_path, **given) -> ConvertOptions:
    return ConvertOptions(
        **{"input": str(tmp_path / "in"), "output": str(tmp_path / "out"), "folds": 2, "workers": 1, **given}
    )


def refusal(chosen: ConvertOptions) -> str:
    with pytest.raises(UserError) as caught:
        convert(chosen)
    return str(caught.value)


@pytest.mark.parametrize(
    ("files", "given"),
    [
        ({"0/broken.jpg": b"\xff\xd8broken"}, {}),
        ({}, {"classes": "a,b"}),
        ({}, {"split": "first_files:0.01"}),
        ({}, {"min_photos_per_class": 99}),
        ({}, {"external": "extra"}),
    ],
)
def test_what_stops_the_real_run_stops_the_rehearsal_and_leaves_nothing(tmp_path, files, given):
    write_files(tmp_path / "in", class_folders(6) | files)
    if "external" in given:
        given = {"external": str(write_files(tmp_path / "extra", {"9/1.jpg": drawn(500)}))}
    said = refusal(options(tmp_path, dry_run=True, **given))
    assert not (tmp_path / "out").exists()
    real = refusal(options(tmp_path, **given))
    assert said.split(";")[0].split("):")[0] == real.split(";")[0].split("):")[0]
    assert "rejected.csv" not in said


def test_photos_that_look_alike_are_reported(tmp_path, capsys):
    files = class_folders(6)
    files["1/copy.jpg"] = files["0/0.jpg"]
    write_files(tmp_path / "in", files)
    assert convert(options(tmp_path, dry_run=True)) is None
    out = capsys.readouterr().out
    assert "2 photos are duplicates, in 1 group.\n  1 group: different labels\n  exact: 0/0.jpg, 1/copy.jpg\n" in out
    assert "3 classes; nothing was written (--dry_run)." in out
    assert not (tmp_path / "out").exists()


def test_a_finished_data_set_is_met_as_in_the_real_run(tmp_path, capsys):
    write_files(tmp_path / "in", class_folders(6))
    converted(tmp_path / "in", tmp_path / "out")
    before = tree(tmp_path / "out")
    assert convert(options(tmp_path, dry_run=True)) is None
    assert "holds this data set already: nothing to do." in capsys.readouterr().out
    assert "add --overwrite" in refusal(options(tmp_path, dry_run=True, seed=7))
    assert convert(options(tmp_path, dry_run=True, seed=7, overwrite=True)) is None
    assert tree(tmp_path / "out") == before


def test_a_full_disk_is_seen_beforehand(tmp_path, monkeypatch):
    write_files(tmp_path / "in", class_folders(6))
    monkeypatch.setattr("carclf.convert.dataset.SPARE_BYTES", 1 << 60)
    said = refusal(options(tmp_path, dry_run=True))
    assert said.endswith("GB are free: free some space, or choose another --output.")
    assert not (tmp_path / "out").exists()
