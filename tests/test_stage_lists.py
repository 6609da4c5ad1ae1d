"""Which runs a list of stages makes: schedules are the stages in them."""

import pytest

from carclf import command
from carclf.errors import UserError
from carclf.stage_lists import listed_stages, split_stages


def runs_of_stages(stages: str) -> list[str]:
    return [stage.run for stage in listed_stages(stages)]


def test_a_schedule_makes_the_runs_of_its_stages():
    assert runs_of_stages("best") == ["lite0_224_head", "lite0_224_all", "lite0_288_all"]
    assert runs_of_stages(" b0_112, best ,b3_512") == [
        "b0_112",
        "lite0_224_head",
        "lite0_224_all",
        "lite0_288_all",
        "b3_512",
    ]
    assert runs_of_stages("") == []


def test_a_run_has_the_name_in_its_stage_or_that_of_a_training_without_one(tmp_path, monkeypatch):
    (tmp_path / "one.flags").write_text("--run=other\n--run=named\n")
    (tmp_path / "two.flags").write_text("--epochs=3\n")
    (tmp_path / "three.flags").write_text("--flagfile=one.flags\n--seed=1\n")
    (tmp_path / "mine.flags").write_text("--stages=one,two\n")
    monkeypatch.setattr(command, "STAGE_FOLDERS", (tmp_path,))
    assert runs_of_stages("mine,three") == ["named", "run", "named"]
    assert runs_of_stages(str(tmp_path / "two.flags")) == ["run"]


def test_a_flag_file_with_a_comma_in_its_path_is_one_stage(tmp_path, monkeypatch):
    folder = tmp_path / "cars, old"
    folder.mkdir()
    (folder / "one,two.flags").write_text("--run=named\n")
    (folder / "both.flags").write_text("--stages=one,two.flags,b0_112\n")
    assert split_stages(f"b0_112,{folder}/one,two.flags, best") == ["b0_112", f"{folder}/one,two.flags", "best"]
    assert runs_of_stages(f"{folder}/one,two.flags,b0_112") == ["named", "b0_112"]
    assert runs_of_stages(f"{folder}/both.flags") == ["named", "b0_112"]
    with pytest.raises(UserError, match=rf"^There is no flag file '{folder}/gone\.flags'"):
        runs_of_stages(f"{folder}/gone.flags")


def test_a_schedule_that_names_itself_is_refused(tmp_path, monkeypatch):
    (tmp_path / "a.flags").write_text("--stages=b\n")
    (tmp_path / "b.flags").write_text("--stages=a\n")
    monkeypatch.setattr(command, "STAGE_FOLDERS", (tmp_path,))
    with pytest.raises(UserError, match=r"^The schedule .*a\.flags names itself: remove it from its --stages\.$"):
        runs_of_stages("a")


def test_an_unknown_stage_in_a_schedule_is_named():
    with pytest.raises(UserError, match=r"There is no stage 'b3_521': did you mean b3_512\?"):
        runs_of_stages("best,b3_521")
