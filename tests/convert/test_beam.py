"""The converter on Apache Beam writes the same bytes as local processes, on Beam's engine and its portable API."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("apache_beam", reason="extra beam is not installed: make test-beam")
pytestmark = pytest.mark.filterwarnings("default")  # Beam's own

from carclf.convert import duplicates, scan, shards
from carclf.convert.beam import STEP_BYTES, TASKS_PER_STEP, BeamWorkers, _steps
from carclf.errors import UserError
from tests.convert import beam_tasks
from tests.convert.inputs import competition, converted, drawn, encoded, opened, reasons, tree, write_files

ROOT = Path(__file__).parent.parent.parent
BAD = {"train/0/empty.jpg": b"", "train/1/page.jpg": b"<html>", "train/1/cut.jpg": drawn(50)[:-200]}


def mixed() -> dict[str, bytes]:
    """Returns a competition with kept, re-encoded, duplicate and bad photos."""
    files = competition(150, tests=10)
    for name in [name for name in files if name.startswith("train/")][::9]:
        files[name] = encoded(opened(files[name]), "PNG")
    return files | BAD | {"train/2/again.jpg": files["train/2/2.jpg"]}


def small_parts(monkeypatch) -> None:
    """Makes tasks small, so that every pass has several to distribute."""
    monkeypatch.setattr(shards, "RECORDS_PER_SHARD", 20)
    monkeypatch.setattr(scan, "PHOTOS_PER_TASK", 2)
    monkeypatch.setattr(duplicates, "LEAST_SHARED", 2)


@pytest.fixture(scope="module")
def cars(tmp_path_factory) -> Path:
    return write_files(tmp_path_factory.mktemp("cars") / "cars", mixed())


@pytest.fixture(scope="module")
def local(tmp_path_factory, cars) -> dict[str, str]:
    """Returns file → SHA-256 of the data set that one local process makes."""
    output = tmp_path_factory.mktemp("local") / "out"
    with pytest.MonkeyPatch.context() as patched:
        small_parts(patched)
        converted(cars, output, on_bad="skip")
    return tree(output)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        return taken.getsockname()[1]


@pytest.fixture(scope="module")
def portable(tmp_path_factory) -> Iterator[str]:
    """Yields the options of a job server and a worker pool, separate programs that are reached only through gRPC.

    The server comes with Beam's Python package and has the same API as those of Flink, Spark and Prism.
    """
    folder, pool = tmp_path_factory.mktemp("server"), free_port()
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # the pool starts `python`
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": search}
    commands = (
        ["apache_beam.runners.portability.local_job_service_main", f"--port_file={folder}/port"],
        ["apache_beam.runners.worker.worker_pool_main", f"--service_port={pool}"],
    )
    with open(folder / "log", "wb") as log:
        servers = [
            subprocess.Popen([sys.executable, "-m", *command], cwd=folder, env=environment, stdout=log, stderr=log)
            for command in commands
        ]
    try:
        until(lambda: (folder / "port").exists() and reachable(pool), seconds=120)
        yield (
            f"--runner=PortableRunner --job_endpoint=localhost:{(folder / 'port').read_text()} "
            f"--environment_type=EXTERNAL --environment_config=localhost:{pool}"
        )
    finally:
        for server in servers:
            server.terminate()
            server.wait(timeout=120)


def until(condition, *, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def reachable(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("localhost", port)) == 0


@pytest.fixture(params=["processes", "portable"])
def beam_options(request) -> str:
    return "" if request.param == "processes" else request.getfixturevalue("portable")


def test_the_bytes_are_those_of_local_processes(tmp_path, monkeypatch, cars, local, beam_options):
    small_parts(monkeypatch)
    monkeypatch.chdir(cars.parent)  # relative paths mean the same to workers that run elsewhere
    output = tmp_path / "out"
    relative = os.path.relpath(output)
    converted("cars", relative, on_bad="skip", runner="beam", beam_options=beam_options, workers=2)
    assert tree(output) == local
    assert len(reasons(output)) == len(BAD)
    assert sum(name.endswith(".tfrecord") for name in local) > 6


def workers(folder: Path, options: str) -> BeamWorkers:
    return BeamWorkers(options, 2, folder=str(folder), prepare=beam_tasks.prepare, arguments=(100,))


def test_results_come_in_the_order_of_the_tasks_from_other_processes(tmp_path, beam_options):
    with workers(tmp_path, beam_options) as pool:
        results = list(pool.map(beam_tasks.add, range(8 * TASKS_PER_STEP)))
        assert [number for number, _ in results] == list(range(100, 100 + 8 * TASKS_PER_STEP))
        processes = {process for _, process in results}
        assert len(processes) == (1 if beam_options else 2)  # Beam's portable server asks the pool for one
        assert os.getpid() not in processes
        assert list(pool.map(beam_tasks.add, [])) == []
    assert list(tmp_path.iterdir()) == []


def test_what_a_worker_refuses_is_told_in_its_own_words(tmp_path, beam_options):
    with (
        workers(tmp_path, beam_options) as pool,
        pytest.raises(UserError, match=r"^40\.jpg changed while it was converted: run the same command again\.$"),
    ):
        list(pool.map(beam_tasks.refuse, range(100)))


def test_a_crash_in_a_worker_is_one_sentence(tmp_path, capsys):
    with (
        workers(tmp_path, "") as pool,
        pytest.raises(UserError, match=r"The Beam pipeline failed \(.*\): see its messages above") as caught,
    ):
        list(pool.map(beam_tasks.crash, [3, 0]))
    assert "\n" not in str(caught.value)
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_job_server_that_is_not_there_is_one_sentence(tmp_path):
    options = f"--runner=PortableRunner --job_endpoint=localhost:{free_port()} --environment_type=LOOPBACK"
    options += " --job_server_timeout=2"
    with (
        workers(tmp_path, options) as pool,
        pytest.raises(UserError, match=r"The Beam pipeline failed \(.*\): .*--beam_options"),
    ):
        list(pool.map(beam_tasks.add, [1]))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("--direct_num_workers=many", "invalid int value: 'many'"),
        ("--runner='Flink", "No closing quotation"),
    ],
)
def test_options_that_beam_cannot_read_are_named(tmp_path, options, reason):
    with pytest.raises(UserError, match=f"--beam_options=.* is not valid .*{reason}"):
        workers(tmp_path, options)


def test_steps_are_small_whatever_the_tasks_are():
    import pickle

    sizes = [len(pickle.loads(step)) for step in _steps(range(100))]
    assert sizes == [TASKS_PER_STEP] * 3 + [4]
    large = b"x" * STEP_BYTES
    assert [len(pickle.loads(step)) for step in _steps([large, 1, 2, large, large])] == [1, 3, 1]


def test_what_a_killed_run_left_is_gone_after_the_next(tmp_path, cars):
    left = tmp_path / "out" / "beam.tmp" / "0" / "task-000000"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"")
    converted(cars, tmp_path / "out", on_bad="skip")
    assert not (tmp_path / "out" / "beam.tmp").exists()


@pytest.mark.slow
def test_the_memory_of_a_worker_does_not_grow_with_the_photos(tmp_path):
    """Compares the launcher's largest child, in MB, for 400 and for 2,400 photos."""
    peaks = []
    for photos in (400, 2400):
        source = tmp_path / f"cars{photos}"
        draw = ("-m", "carclf.sample", f"--output={source}", f"--photos={photos}", "--width=320", "--height=240")
        subprocess.run([sys.executable, *draw], cwd=ROOT, check=True, capture_output=True)
        program = (
            "import json, resource, sys\n"
            "from carclf.convert.converter import convert\n"
            "from carclf.convert.options import ConvertOptions\n"
            "convert(ConvertOptions(**json.loads(sys.argv[1])))\n"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)\n"
        )
        options = {"input": str(source), "output": str(tmp_path / f"out{photos}"), "runner": "beam", "workers": 2}
        answer = subprocess.run(
            [sys.executable, "-c", program, json.dumps(options)], cwd=ROOT, check=True, capture_output=True, text=True
        )
        peaks.append(float(answer.stdout.splitlines()[-1]))
    assert peaks[1] < 1.1 * peaks[0]
