"""Servers of object stores on this machine, each with a bucket `cars`: one for all tests, since clients are kept."""

import importlib.util
import logging
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = {
    "s3": ("moto", "flask", "flask_cors", "s3fs"),
    "gcs": ("gcp_storage_emulator", "gcsfs"),
    "az": ("adlfs",),
}
# Azurite's account, which its documentation states.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def require(scheme: str) -> None:
    if not all(map(importlib.util.find_spec, NEEDED[scheme])):  # not imported: gcsfs reads the environment then
        pytest.skip(f"{', '.join(NEEDED[scheme])} are not all installed")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[dict[str, str]]:
    """Yields the environment of a process that reaches moto's server, which this process has, too."""
    require("s3")
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it logs every request
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    address = f"http://{host}:{port}"
    urllib.request.urlopen(urllib.request.Request(f"{address}/cars", method="PUT"))
    settings = {
        "AWS_ENDPOINT_URL": address, "AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }  # fmt: skip
    yield from having(settings)
    running.stop()


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[dict[str, str]]:
    """Yields the same for gcp-storage-emulator."""
    require("gcs")
    import fsspec.config
    from gcp_storage_emulator.server import create_server

    port = free_port()
    running = create_server("127.0.0.1", port, in_memory=True, default_bucket="cars")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("http.server.HTTPServer.request_queue_size", 128)  # it answers one request after the other
        patch.setitem(fsspec.config.conf, "gcs", {"token": "anon"})  # the environment is read when it is imported
        running.start()
        yield from having({"FSSPEC_GCS_TOKEN": "anon", "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}"})
        running.stop()


@pytest.fixture(scope="session")
def az_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Yields the same for Azurite, Microsoft's server for tests (npm install azurite)."""
    require("az")
    if not (program := shutil.which("azurite-blob")):
        pytest.skip("azurite-blob is not on the path: npm install azurite")
    from azure.storage.blob import BlobServiceClient

    port = free_port()
    folder = str(tmp_path_factory.mktemp("azurite"))
    where = ("--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", folder)
    quiet = ("--silent", "--disableTelemetry", "--skipApiVersionCheck")
    address = (
        f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
        f"BlobEndpoint=http://127.0.0.1:{port}/{ACCOUNT};"
    )
    with subprocess.Popen([program, *where, *quiet], stdout=subprocess.DEVNULL) as running:
        try:
            while not listens(port):
                assert running.poll() is None
                time.sleep(0.1)
            BlobServiceClient.from_connection_string(address).create_container("cars").close()
            yield from having({"AZURE_STORAGE_CONNECTION_STRING": address})
        finally:
            running.terminate()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


def having(settings: dict[str, str]) -> Iterator[dict[str, str]]:
    """Yields the environment with these settings and this clone, while this process has the settings."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        yield os.environ | {"PYTHONPATH": str(ROOT)}
