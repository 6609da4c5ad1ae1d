import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from carclf import train
from carclf.errors import UserError
from carclf.runs.lock import holding
from carclf.train_options import TrainOptions

ROOT = Path(__file__).parents[2]
HOLDER = "import sys; from pathlib import Path; from carclf.runs.lock import holding\n" + (
    "with holding(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
)


def test_a_folder_in_use_is_refused_until_its_process_has_been_killed(dataset, tmp_path):
    folder = tmp_path / "runs" / "mine"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"Another process is training in {folder}: wait for its end or stop it"):
            train.main(TrainOptions(data=dataset.directory, run=str(folder)))
        assert folder.is_dir()
        other.send_signal(signal.SIGKILL)
    assert other.returncode == -signal.SIGKILL
    with holding(folder):
        (folder / "file").touch()
    assert [path.name for path in folder.iterdir()] == ["file"]


def test_a_folder_in_which_nothing_was_begun_is_gone_again(tmp_path):
    with holding(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    said = r"The run's folder .*run cannot be made \(.*\): choose another --run"
    with pytest.raises(UserError, match=said), holding(tmp_path / "file" / "run"):
        pass


def test_a_file_system_without_locks_is_trained_on(tmp_path, monkeypatch):
    import fcntl

    def unsupported(handle, operation):
        raise OSError(38, os.strerror(38))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with holding(tmp_path / "run"), holding(tmp_path / "run"):
        pass
