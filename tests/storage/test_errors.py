"""What cannot be reached is named in one sentence, with what to do."""

import importlib.util
import subprocess
import sys

import pytest

from carclf import storage
from carclf.errors import StorageError, sentence_in
from carclf.extras import install_command
from carclf.storage import kinds, remote
from carclf.storage.packages import PACKAGES

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")


@pytest.fixture(autouse=True)
def _asked_again():
    kinds._backend_of_scheme.cache_clear()
    yield
    kinds._backend_of_scheme.cache_clear()
    remote._open_system.cache_clear()


def refusal(call, *arguments) -> str:
    with pytest.raises(StorageError) as caught:
        call(*arguments)
    return str(caught.value)


def test_a_scheme_that_does_not_exist_is_named_with_the_nearest():
    text = refusal(storage.is_folder, "s4://cars/set")
    assert text.startswith(
        "s4://cars/set cannot be reached: nothing is read by the scheme s4://: did you mean s3://? Known are s3://, "
    )


@pytest.mark.parametrize("scheme", PACKAGES)
def test_a_missing_package_is_named_with_its_extra(scheme, monkeypatch):
    def missing(protocol):
        raise ImportError(f"Install something to access {protocol}")

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorflow" else find(name))
    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
    package = PACKAGES[scheme]
    assert refusal(storage.read_bytes, f"{scheme}://cars/x") == (
        f"{scheme}://cars/x cannot be reached: {scheme}:// needs {package.name}, which is not installed: "
        f"{install_command(package.extra)}."
    )


def test_another_missing_package_is_named_as_fsspec_does(monkeypatch):
    def missing(protocol):
        raise ImportError("Install ossfs to access Alibaba Object Storage System")

    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
    assert refusal(storage.read_bytes, "oss://cars/x") == (
        "oss://cars/x cannot be reached: oss:// needs a package that is not installed (Install ossfs to access Alibaba "
        "Object Storage System): install that with pip."
    )


@pytest.mark.parametrize(("scheme", "named"), [("s3", "[s3]"), ("sftp", "pip install fsspec")])
def test_without_fsspec_the_text_says_how_to_install_it(scheme, named, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert named in refusal(storage.read_bytes, f"{scheme}://cars/x")


def test_gs_is_read_by_tensorflow_where_it_is_installed(monkeypatch):
    from carclf.storage.gfile import TensorFlowFiles

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert isinstance(storage.backend_of("gs://cars/x"), TensorFlowFiles)


@pytest.mark.parametrize(
    ("call", "done"),
    [
        (storage.is_folder, "read"),
        (storage.size_bytes, "read"),
        (storage.names_in, "read"),
        (storage.sizes_under, "read"),
        (storage.read_bytes, "read"),
        (storage.open_binary, "read"),
        (lambda path: storage.read_range(path, 0, 3), "read"),
        (storage.make_folder, "written"),
        (lambda path: storage.write_atomic(path, b"x"), "written"),
        (storage.remove, "removed"),
    ],
)
def test_every_error_of_a_package_says_what_to_do(call, done, monkeypatch):
    def broken(self, *arguments, **options):
        raise RuntimeError("no credentials\nin the environment.")

    storage.write_atomic("memory://errors/x", b"abc")
    for name in ("info", "ls", "find", "cat_file", "open", "makedirs", "put_file", "rm"):
        monkeypatch.setattr(type(fsspec.filesystem("memory")), name, broken)
    error = refusal(call, "memory://errors/x")
    assert error == (
        f"memory://errors/x could not be {done} (no credentials in the environment): check its address, the network "
        "and the credentials."
    )


def test_an_error_inside_a_framework_is_still_one_sentence():
    shown = "2 root error(s) found: StorageError: s3://a/b could not be read (down): check the network.\n\nTraceback"
    assert sentence_in(RuntimeError(shown)) == "s3://a/b could not be read (down): check the network."


def test_a_bucket_that_does_not_exist_is_not_made(monkeypatch):
    def missing(self, *arguments, **options):
        raise FileNotFoundError("The specified bucket does not exist")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "put_file", missing)
    assert refusal(storage.write_atomic, "memory://errors/y", b"") == (
        "memory://errors/y could not be written (The specified bucket does not exist): create its bucket or folder "
        "first, or correct the address."
    )


def test_local_paths_import_neither_fsspec_nor_tensorflow(tmp_path):
    program = (
        "import sys; from carclf import storage; storage.write_atomic(sys.argv[1], b'x'); "
        "assert storage.RangeReader()(sys.argv[1], 0, 1) == b'x'; storage.remove(sys.argv[1]); "
        "print(sorted({'fsspec', 'tensorflow', 'carclf.storage.remote', 'carclf.storage.gfile'} & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "x")], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
