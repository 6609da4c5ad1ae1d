"""What the options of a pack name: runs, weights and stages."""

from pathlib import Path

from carclf import runs
from carclf.packing.contents import collect
from tests.runs.test_run import make_run


def test_runs_weights_and_stages_may_have_commas_in_their_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("one,two", "three"):
        (make_run(tmp_path / "runs" / name) / runs.BEST_WEIGHTS).touch()
    Path("cars, old").mkdir()
    for name in ("a,b.h5", "c.h5", "x,y.flags"):
        Path("cars, old", name).write_text("--run=four\n--weights=none\n" if name.endswith("flags") else "")
    contents = collect(
        run="three,one,two",
        runs_folder="runs",
        weights="cars, old/a,b.h5,cars, old/c.h5",
        stages="lite0_224_head,cars, old/x,y.flags,b3_300_head",
        extras=[],
    )
    assert contents.runs == ["three", "one,two"]
    assert contents.weights == ["a,b.h5", "c.h5"]
    assert [stage.run for stage in contents.stages] == ["lite0_224_head", "four", "b3_300_head"]
    assert {"runs/one,two/stage.json", "weights/a,b.h5", "stages/x,y.flags"} <= set(contents.files)
