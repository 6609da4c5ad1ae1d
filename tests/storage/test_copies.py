"""Working copies: what is at a URL is fetched once, what is written is uploaded in its order, texts name URLs."""

import io
import sys

import pytest

from carclf import files, storage
from carclf.command import parse_command_line
from carclf.errors import Preempted, RangesIgnoredError, StorageError, UserError
from carclf.flags import check_urls
from carclf.progress import Progress
from carclf.storage import copies
from carclf.storage.copies import finishing, local_path

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")


@pytest.fixture
def url(tmp_path):
    """Returns the URL of a folder with a run and its checkpoints."""
    folder = f"memory://{tmp_path}/runs/b3"
    for name, size in (("stage.json", 5), ("best.weights.h5", 300), ("checkpoints/step-1.npz", 9), (".carclf.lock", 1)):
        storage.write_atomic(f"{folder}/{name}", bytes(range(size % 256)))
    yield folder
    copies._copies.forget()


def test_a_stream_in_place_of_stderr_stays_open(url, monkeypatch):
    """As in a notebook: the first working copy wraps it while its work is reported."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    replacement = sys.stderr
    with Progress("Listing the photos"):
        local_path(url)
    assert sys.stderr is not replacement
    assert not replacement.closed


def test_a_local_path_is_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_path("~/cars") == tmp_path / "cars"
    assert str(local_path("cars/a.csv")) == "cars/a.csv"


def test_a_folder_is_fetched_once_without_what_is_not_needed(url, monkeypatch):
    path = local_path(url, without=["checkpoints"])
    assert sorted(file.name for file in path.rglob("*")) == ["best.weights.h5", "stage.json"]
    assert (path / "best.weights.h5").read_bytes() == storage.read_bytes(f"{url}/best.weights.h5")
    storage.write_atomic(f"{url}/stage.json", b"changed")
    assert local_path(f"{url}/", without=["checkpoints", "features"]) == path
    assert (path / "stage.json").read_bytes() == bytes(range(5))
    assert local_path(url) == path
    assert (path / "checkpoints" / "step-1.npz").read_bytes() == bytes(range(9))
    assert (path / "stage.json").read_bytes() == bytes(range(5))  # it was here already
    assert not (path / ".carclf.lock").exists()


@pytest.mark.parametrize("size", [0, 1, 64, 65, 200])
def test_a_file_is_fetched_in_blocks(url, size, monkeypatch):
    monkeypatch.setattr(copies, "BLOCK_BYTES", 64)
    storage.write_atomic(f"{url}/file", bytes(range(size)))
    assert local_path(f"{url}/file").read_bytes() == bytes(range(size))


def test_a_file_that_cannot_be_read_in_parts_is_read_once_as_a_whole(url, monkeypatch):
    def whole_only(place, start, size):
        if start:
            raise RangesIgnoredError(f"{place} cannot be read in parts")
        return storage.read_bytes(place)[:size]

    monkeypatch.setattr(copies, "BLOCK_BYTES", 4)
    monkeypatch.setattr(storage, "read_range", whole_only)
    stream, streamed = storage.stream, []
    monkeypatch.setattr(storage, "stream", lambda place: (streamed.append(place.removeprefix(url)), stream(place))[1])
    path = local_path(url)
    for name in ("stage.json", "best.weights.h5", "checkpoints/step-1.npz"):
        assert (path / name).read_bytes() == storage.read_bytes(f"{url}/{name}")
    assert sorted(streamed) == ["/best.weights.h5", "/checkpoints/step-1.npz", "/stage.json"]


def test_a_file_that_changes_while_it_is_fetched_is_named_and_fetched_again_as_advised(url, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(storage, "size_bytes", lambda path: 9)
        with pytest.raises(
            StorageError,
            match=r"/stage\.json changed while it was fetched, or was cut off \(5 of 9 bytes arrived\): run the same",
        ):
            local_path(f"{url}/stage.json")
    assert local_path(f"{url}/stage.json").read_bytes() == bytes(range(5))


def test_more_bytes_than_were_asked_for_are_refused(url, monkeypatch):
    """Also of a store: some that speak S3's protocol ignore ranges."""
    system = fsspec.filesystem("memory")
    monkeypatch.setattr(type(system), "async_impl", True)
    monkeypatch.setattr(type(system), "cat_file", lambda self, path, start=None, end=None: bytes(range(5)))
    with pytest.raises(
        RangesIgnoredError, match=r"/stage\.json cannot be read in parts, because its server sends whole"
    ):
        storage.read_range(f"{url}/stage.json", 1, 2)


def test_half_of_what_was_fetched_never_replaces_the_whole_in_the_store(url, monkeypatch):
    before, read = storage.sizes_under(url), storage.read_range

    def told_to_stop(place, start, size):
        if place.endswith("best.weights.h5") and start:
            raise Preempted("stopped")
        return read(place, start, size)

    def stopped():
        with finishing():
            local_path(url)

    monkeypatch.setattr(storage, "read_range", told_to_stop)
    monkeypatch.setattr(copies, "BLOCK_BYTES", 8)
    with pytest.raises(Preempted):
        stopped()
    assert storage.sizes_under(url) == before


@pytest.mark.parametrize("name", ["../b", "a/../b", "/b", "a//b", "./b", "a/.", "..", "a\\b", "a\0b", "a/b/"])
def test_an_object_whose_name_leads_elsewhere_is_refused_before_anything_is_fetched(url, name, monkeypatch):
    read = []
    monkeypatch.setattr(storage, "sizes_under", lambda folder: {"a.txt": 1, name: 1})
    monkeypatch.setattr(storage, "read_range", lambda *place: read.append(place))
    with pytest.raises(StorageError, match=r"b3 holds an object named '.*', which cannot be a file here: rename it"):
        local_path(url)
    assert read == []


def test_an_object_with_another_name_is_fetched_as_advised(url, monkeypatch):
    real = storage.sizes_under
    monkeypatch.setattr(storage, "sizes_under", lambda folder: real(folder) | {"a//b": 1})
    with pytest.raises(StorageError, match="rename it there, or give a folder without it"):
        local_path(url)
    assert (local_path(f"{url}/stage.json")).read_bytes() == bytes(range(5))
    storage.write_atomic(f"{url}/a-b", b"b")
    monkeypatch.setattr(storage, "sizes_under", real)
    assert (local_path(url) / "a-b").read_bytes() == b"b"


def test_a_url_that_goes_up_is_refused_and_taken_as_advised(url):
    with pytest.raises(
        UserError, match=r"/b3/\.\./b3/stage\.json goes up with '\.\.', which no store does: give the URL"
    ):
        local_path(f"{url}/../b3/stage.json")
    assert local_path(f"{url}/stage.json").read_bytes() == bytes(range(5))


def test_markers_of_folders_are_not_fetched(url, monkeypatch):
    class Marked:
        def sizes_under(self, folder):
            return {"": 0, "cat/": 0, "cat/1.jpg": 1, "dog": 0, "dog/2.jpg": 1, "new/": 0, "/": 0, "empty": 0}

        def size_bytes(self, path):
            return None

        def read_range(self, path, start, size):
            return b"x"

        def stream(self, path):
            return iter(())

    monkeypatch.setattr(storage, "backend_of", lambda path: Marked())
    assert storage.sizes_under(url) == {"cat/1.jpg": 1, "dog/2.jpg": 1, "empty": 0}
    path = local_path(url)
    found = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}
    assert found == {"cat/1.jpg", "dog/2.jpg", "empty"}


def test_nothing_is_at_the_working_copy_of_nothing(url):
    path = local_path(f"{url}/none/at/all.csv")
    assert not path.exists()
    assert path.parent.is_dir()


def test_a_disk_without_room_is_named(url, monkeypatch):
    monkeypatch.setattr(copies, "SPARE_BYTES", 2**62)
    with pytest.raises(
        UserError, match=r"^memory://.*/b3 is fetched into .* and needs 0\.0 GB there, where .* in TMPDIR\.$"
    ):
        local_path(url)


def test_what_is_written_is_uploaded_at_once_and_what_is_gone_is_removed_before(url, monkeypatch):
    path, done = local_path(url), []
    for name in ("upload", "remove"):
        real = getattr(storage, name)
        monkeypatch.setattr(
            storage, name, lambda *p, name=name, real=real: (done.append((name, p[-1].removeprefix(url))), real(*p))
        )
    files.write_atomically(path / "checkpoints" / "step-2.npz", b"two")
    assert storage.read_bytes(f"{url}/checkpoints/step-2.npz") == b"two"
    files.write_json(path / "checkpoints" / "step-2.json", {})
    for name in ("step-2.npz", "step-2.json"):
        (path / "checkpoints" / name).unlink()
    files.write_atomically(path / "stage.json", b"new")
    assert done == [
        ("upload", "/checkpoints/step-2.npz"),
        ("upload", "/checkpoints/step-2.json"),
        ("remove", "/checkpoints/step-2.json"),  # first, since it says that the other one is complete
        ("remove", "/checkpoints/step-2.npz"),
        ("upload", "/stage.json"),
    ]


def test_what_was_not_fetched_is_never_removed(url):
    path = local_path(url, without=["checkpoints"])
    files.write_atomically(path / "metrics.json", b"{}")
    assert storage.size_bytes(f"{url}/checkpoints/step-1.npz") == 9


def test_other_files_are_uploaded_at_the_end_and_the_copies_removed(url):
    with finishing():
        path = local_path(url)
        (path / "tensorboard").mkdir()
        (path / "tensorboard" / "events").write_bytes(b"events")
        (path / "checkpoints" / "step-1.npz").unlink()
        (path / ".hidden").write_bytes(b"")
    assert not path.exists()
    assert storage.sizes_under(url) == {
        ".carclf.lock": 1, "best.weights.h5": 44, "stage.json": 5, "tensorboard/events": 6
    }  # fmt: skip
    assert copies._copies.follow not in files.followers


def interrupted(url: str, error: BaseException | type[BaseException]) -> None:
    with finishing():
        (local_path(url) / "events").write_bytes(b"events")
        raise error


@pytest.mark.parametrize("error", [Preempted, KeyboardInterrupt])
def test_a_stopped_command_uploads_them_too(url, error):
    with pytest.raises(error):
        interrupted(url, error)
    assert storage.read_bytes(f"{url}/events") == b"events"


def test_after_an_error_the_store_is_left_as_it_is(url):
    with pytest.raises(UserError):
        interrupted(url, UserError("wrong"))
    assert storage.size_bytes(f"{url}/events") is None


def test_an_upload_that_fails_is_an_error_and_leaves_the_old_file(url, monkeypatch):
    path = local_path(url)

    def broken(local, place):
        raise StorageError(f"{place} could not be written")

    monkeypatch.setattr(storage, "upload", broken)
    with pytest.raises(StorageError, match=r"^memory://.*/stage\.json could not be written"):
        files.write_atomically(path / "stage.json", b"new")
    assert storage.read_bytes(f"{url}/stage.json") == bytes(range(5))


def test_the_query_of_a_web_address_is_a_folder_of_its_working_copy(monkeypatch):
    known = copies._copies
    try:
        monkeypatch.setattr(storage, "backend_of", lambda url: None)
        path, other = (
            local_path(f"https://host/a/x.parquet{query}", fetched=False) for query in ("?n=1", "?n=2&m=/../b/")
        )
        assert path.name == other.name == "x.parquet"
        assert path != other != local_path("https://host/a/x.parquet", fetched=False)
        assert [known.url_of(one) for one in (path, other)] == [
            "https://host/a/x.parquet?n=1", "https://host/a/x.parquet?n=2&m=/../b/"
        ]  # fmt: skip
        assert known.named(f"Error: {path} is damaged") == "Error: https://host/a/x.parquet is damaged"
        assert local_path("https://host?n=1", fetched=False).name == "host"
        assert local_path("s3://cars/x?n=1", fetched=False).name == "x?n=1"
    finally:
        known.forget()


@pytest.mark.parametrize("root", ["s3://cars", "memory:///cars", "abfs://photos@account.dfs.core.windows.net"])
def test_texts_name_the_url(root, capsys, monkeypatch):
    known = copies._copies
    try:
        monkeypatch.setattr(storage, "backend_of", lambda url: None)
        path = local_path(f"{root}/runs/b3", fetched=False)
        assert known.url_of(path / "stage.json") == f"{root}/runs/b3/stage.json"
        print(f"Report: {path / 'report.html'}, in {path.parent}.")
        print(f"Error: {path}: no", file=sys.stderr)
        said = capsys.readouterr()
        assert said.out == f"Report: {root}/runs/b3/report.html, in {root}/runs.\n"
        assert said.err == f"Error: {root}/runs/b3: no\n"
        known.forget()
        print(f"Error: {path}: no")
        assert capsys.readouterr().out == f"Error: {root}/runs/b3: no\n"
    finally:
        known.forget()


def test_every_path_option_takes_urls_or_refuses_them():
    from carclf.convert.options import ConvertOptions
    from carclf.predict import PredictOptions
    from carclf.train_options import TrainOptions

    for options, flags, text in (
        (TrainOptions, ["--cache=memory://cars"], r"--cache=memory://cars is not possible: it takes a path on this"),
        (ConvertOptions, ["--input=s3://a", "--output=b", "--runner=beam"], r"--input is a URL, which the launcher"),
    ):
        with pytest.raises(UserError, match=text):
            parse_command_line(options, flags, description="")
    taken = parse_command_line(PredictOptions, ["--run=a,memory://b/c", "--data=memory://d"], description="")
    assert (taken.run, taken.data) == ("a,memory://b/c", "memory://d")


@pytest.mark.parametrize(("flag", "named"), [("--data=s4://cars", "s4://cars"), ("--run=a, s4://b/c", "s4://b/c")])
def test_a_url_that_nobody_reads_is_refused_before_any_work(flag, named):
    from carclf.train_options import TrainOptions

    check_urls(parse_command_line(TrainOptions, ["--run=a,memory://b"], description=""))
    with pytest.raises(StorageError, match=f"^{named} cannot be reached: nothing is read by the scheme s4://"):
        check_urls(parse_command_line(TrainOptions, [flag], description=""))


def test_a_working_copy_is_known_by_its_url(url, tmp_path):
    assert copies.place_of(local_path(url)) == url
    assert copies.place_of(tmp_path) == str(tmp_path)
