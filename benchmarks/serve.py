"""Measures the server under load: requests per second and 95th percentile, against bare calls of the same network.

Its runs have almost random weights, from one step on drawn photos: their values do not change the time. With --before,
another checkout trains runs of its own on the same photos, and its server is asked alternately with this one.
Example: python benchmarks/serve.py --backbones=mobilenet_v2,efficientnet_b0 --clients=8 --json=serve.json"""

import dataclasses
import http.client
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from measuring import ROOT, in_tree, scratch_folder

from carclf.command import run_command
from carclf.errors import UserError
from carclf.flags import Options, option

BOUNDARY = "border"
BATCH_SIZES = (1, 8)  # of the bare calls

# Prints images per second for each batch size: the classifier alone, as a compiled graph, on an image that is there.
BARE = """
import json, sys, time
from carclf.device import select_device
select_device(sys.argv[1])
import numpy as np, tensorflow as tf
from carclf.model.classifier import build_classifier
size, sizes, seconds = int(sys.argv[3]), json.loads(sys.argv[4]), float(sys.argv[5])
model = build_classifier(backbone=sys.argv[2], weights="none", class_count=10, image_size=(size, size))
call = tf.function(lambda images: model(images, training=False), autograph=False)
found = {}
for batch in sizes:
    images = tf.constant(np.zeros((batch, size, size, 3), np.float32))
    call(images)
    calls, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        call(images).numpy()
        calls += 1
    found[batch] = calls * batch / (time.perf_counter() - started)
print(json.dumps(found))
"""


@dataclasses.dataclass(frozen=True)
class ServeBenchmarkOptions(Options):
    """Every option of this benchmark."""

    backbones: str = option("mobilenet_v2,efficientnet_b0", "Backbones, separated by commas.")
    image_size: int = option(224, "Pixels per side.", low=1)
    clients: int = option(8, "Clients that ask without a pause.", low=1)
    seconds: float = option(10.0, "How long each is asked.", above=0)
    photos: int = option(80, "Drawn photos, of 640x480.", low=1)
    repeats: int = option(1, "How often each server is asked.", low=1)
    before: str = option("", "Another checkout of carclf, whose server is asked alternately.", path=True)
    device: str = option("cpu", "Device that serves.", choices=("auto", "cpu", "gpu", "tpu"))
    json: str = option("", "Also write the figures to this file.")


def main(options: ServeBenchmarkOptions) -> None:
    """Measures and prints."""
    results: dict[str, dict[str, Any]] = {}
    trees = {"now": ROOT} | ({"before": Path(options.before).resolve()} if options.before else {})
    with scratch_folder() as folder:
        scratch = folder.resolve()
        run([sys.executable, "-m", "carclf.sample", f"--output={scratch}/photos", f"--photos={options.photos}"])
        photos = [path.read_bytes() for path in sorted((scratch / "photos" / "train").rglob("*.jpg"))]
        print(f"{'network':<18}{'clients':>8}{'requests/s':>12}{'median ms':>11}{'p95 ms':>8}   bare images/s, 1 and 8")
        for backbone in options.backbones.split(","):
            homes = {name: make_run(options, backbone, scratch, name=name, tree=tree) for name, tree in trees.items()}
            results[backbone] = measure(options, backbone, homes, trees, photos)
            for name, served in results[backbone]["served"].items():
                print_rows(f"{backbone} {name}" if options.before else backbone, served, results[backbone]["bare"])
    if options.json:
        content = {"options": dataclasses.asdict(options), "results": results}
        Path(options.json).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def print_rows(name: str, served: dict[int, list[dict[str, float]]], bare: dict[str, float]) -> None:
    """Prints the medians of one server, for each number of clients."""
    rates = " and ".join(f"{rate:.0f}" for rate in bare.values())
    for clients, figures in served.items():
        of = {key: statistics.median(figure[key] for figure in figures) for key in figures[0]}
        print(
            f"{name:<18}{clients:>8}{of['requests_per_second']:>12.1f}{of['median_ms']:>11.0f}{of['p95_ms']:>8.0f}"
            f"   {rates}",
            flush=True,
        )


def make_run(options: ServeBenchmarkOptions, backbone: str, scratch: Path, *, name: str, tree: Path) -> Path:
    """Returns a run of one step, made by a checkout with a data set of its own."""
    data, folder = scratch / name / "data", scratch / name / "runs" / backbone
    if not data.exists():
        tool = str(tree / "tools" / "make_tfrecords.py")
        run([sys.executable, tool, f"--input={scratch}/photos", f"--output={data}", "--folds=4"], tree=tree)
    flags = {
        "data": data,
        "run": folder,
        "backbone": backbone,
        "weights": "none",
        "unfreeze": "head",
        "image_size": options.image_size,
        "batch_size": 8,
        "epochs": 1,
        "steps": 1,
        "device": "cpu",
    }
    run([sys.executable, "-m", "carclf.train", *(f"--{flag}={value}" for flag, value in flags.items())], tree=tree)
    return folder


def measure(
    options: ServeBenchmarkOptions,
    backbone: str,
    homes: dict[str, Path],
    trees: dict[str, Path],
    photos: Sequence[bytes],
) -> dict[str, dict[Any, Any]]:
    """Returns figures of each server for one client and for all, and of bare calls when they have ended."""
    served: dict[str, dict[int, list[dict[str, float]]]] = {name: {1: [], options.clients: []} for name in homes}
    for _ in range(options.repeats):
        for name, home in homes.items():
            for clients, figures in served_by(options, home, trees[name], photos).items():
                served[name][clients].append(figures)
    arguments = [options.device, backbone, str(options.image_size), json.dumps(BATCH_SIZES), str(options.seconds / 2)]
    bare = json.loads(run([sys.executable, "-c", BARE, *arguments]).strip().splitlines()[-1])
    return {"served": served, "bare": bare}


def served_by(
    options: ServeBenchmarkOptions, home: Path, tree: Path, photos: Sequence[bytes]
) -> dict[int, dict[str, float]]:
    """Returns figures of the server of a checkout, by the number of clients."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "carclf.serve", f"--run={home}", f"--port={port}", f"--device={options.device}"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **in_tree(tree))
    try:
        wait_until_ready(server)
        return {clients: load(options, port, photos, clients=clients) for clients in (1, options.clients)}
    finally:
        server.terminate()
        server.communicate()


def wait_until_ready(server: "subprocess.Popen[str]") -> None:
    """Waits until the server says that it is ready.

    Raises:
      UserError: it ended earlier.
    """
    assert server.stdout is not None
    for line in server.stdout:
        if line.startswith("Ready"):
            return
    raise UserError("The server ended before it was ready: see above.")


def load(options: ServeBenchmarkOptions, port: int, photos: Sequence[bytes], *, clients: int) -> dict[str, float]:
    """Requests per second, median and 95th percentile of so many clients that ask without a pause."""
    ends = time.perf_counter() + options.seconds

    def client(number: int) -> list[float]:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        taken: list[float] = []
        while time.perf_counter() < ends:
            started = time.perf_counter()
            ask(connection, photos[(number + len(taken)) % len(photos)])
            taken.append(time.perf_counter() - started)
        return taken

    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        seconds = sorted(one for taken in pool.map(client, range(clients)) for one in taken)
    return {
        "requests_per_second": len(seconds) / (time.perf_counter() - started),
        "median_ms": 1000 * seconds[len(seconds) // 2],
        "p95_ms": 1000 * seconds[int(0.95 * (len(seconds) - 1))],
    }


def ask(connection: http.client.HTTPConnection, photo: bytes) -> None:
    """Classifies a photo.

    Raises:
      UserError: the server did not classify it.
    """
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="photo.jpg"\r\n\r\n'
    body = head.encode() + photo + f"\r\n--{BOUNDARY}--\r\n".encode()
    connection.request("POST", "/api/classify", body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise UserError(f"The server answered {answer.status}: {content[:200]!r}.")


def run(command: Sequence[str], *, tree: Path = ROOT) -> str:
    """Runs a command with the carclf of a checkout and returns its output.

    Raises:
      UserError: it failed.
    """
    answer = subprocess.run(command, capture_output=True, text=True, **in_tree(tree))
    if answer.returncode:
        raise UserError(f"{' '.join(command)[:200]} ended with {answer.returncode}: {answer.stderr.strip()[-2000:]}")
    return answer.stdout


if __name__ == "__main__":
    run_command(main, ServeBenchmarkOptions, description=__doc__ or "")
