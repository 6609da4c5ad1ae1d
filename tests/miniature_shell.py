"""Run by test_shown_commands.py in place of `python`, `pip` and `make`: the pages' commands, each on small photos.

A command is run as it stands, with options added that it does not give itself and that make it short: a tiny network,
one step. Only what no test machine has is given another value. Servers and the first of several hosts stay in the
background, as in a terminal of their own.
"""

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parent.parent
BACKGROUND = Path("background")  # the processes that go on: their numbers and what they print

TINY = ("--backbone=tiny", "--weights=none", "--image_size=32", "--batch_size=4")
SHORT = ("--epochs=1", "--steps=1", "--warmup_epochs=0")  # a single epoch has no room for a warm-up
ADDED = {"carclf.train": (*TINY, *SHORT), "carclf.tune": (*TINY, *SHORT)}
PLANNED = TINY  # a plan chooses the epochs
RESUMED = TINY  # a run that started as a whole stage ends as one
# The last of two values counts.
CHANGED = {
    "carclf.train": ("--device=cpu",),
    "carclf.tune": ("--device=cpu", "--trials=1"),
    "carclf.probe": ("--device=cpu", "--backbones=tiny@32=none,tiny@48=none"),
    "carclf.soup": ("--device=cpu",),
    "carclf.evaluate": ("--device=cpu",),
    "carclf.predict": ("--device=cpu",),
    "carclf.serve": ("--device=cpu",),
    "carclf.pack": ("--image=installed_here.txt", "--python="),  # nothing lacks, so no index is asked
}
PLACES = {
    "=s3://bucket/": f"=file://{Path.cwd()}/bucket/",
    "=/kaggle/": "=kaggle/",
    "--coordinator=10.0.0.1:": "--coordinator=127.0.0.1:",
    "--storage=postgresql://ann@host/studies": "--storage=sqlite:///studies.db",
}


def main(tool: str, *arguments: str) -> int:
    if tool == "pip":
        return 0  # `make` installs this checkout with its extras; the packages' index is not asked again
    if tool == "make":
        return subprocess.run(["/usr/bin/env", "make", "-n", "-C", str(ROOT), *arguments], env=outer_path()).returncode
    if "--runner=beam" in arguments:
        return 0  # tests/convert/test_beam.py does that, in the environment that Beam needs
    if any("=s3://" in argument for argument in arguments) and importlib.util.find_spec("fsspec") is None:
        return 0
    return python(*arguments)


def outer_path() -> dict[str, str]:
    """The environment in which the tools have their own meaning again."""
    return os.environ | {"PATH": os.environ["PATH"].partition(os.pathsep)[2]}


def python(*arguments: str) -> int:
    name = arguments[1] if arguments[0] == "-m" else arguments[0]
    given = {argument.partition("=")[0] for argument in arguments}
    added = RESUMED if "--resume_from" in given else PLANNED if "--plan" in given else ADDED.get(name, ())
    added = [flag for flag in added if flag.partition("=")[0] not in given]
    changed = [*CHANGED.get(name, ()), *["--budget=5m"] * ("--plan" in given)]
    if name == "carclf.predict" and "--pseudo_labels" in given:
        changed.append("--pseudo_confidence=0.01")  # a network of one step is sure of nothing
    if name == "carclf.pack":
        list_packages(Path("installed_here.txt"))
    command = [sys.executable, *map(placed, arguments), *added, *changed]
    environment = outer_path()
    if any("_tpu" in argument or argument == "--device=tpu" for argument in arguments):
        environment["KERAS_BACKEND"] = "jax"
    print("$", *command[1:], flush=True)
    if name == "carclf.serve":
        return serve(command, environment, port=next((a[7:] for a in arguments if a.startswith("--port=")), "8080"))
    if "--host=0" in arguments:
        begin("host", command, environment)
        return 0
    code = subprocess.run(command, env=environment).returncode
    if (host := BACKGROUND / "host.pid").exists():  # two hosts end together
        wait(host)
    return code


def list_packages(path: Path) -> None:
    found = {distribution.name: distribution.version for distribution in importlib.metadata.distributions()}
    path.write_text("".join(f"{name}=={version}\n" for name, version in found.items()))


def placed(argument: str) -> str:
    for shown, here in PLACES.items():
        argument = argument.replace(shown, here)
    return argument


def begin(name: str, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    BACKGROUND.mkdir(exist_ok=True)
    with open(BACKGROUND / f"{name}.log", "wb") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    (BACKGROUND / f"{name}.pid").write_text(str(process.pid))
    return process


def serve(command: list[str], environment: dict[str, str], *, port: str) -> int:
    if (former := BACKGROUND / "server.pid").exists():
        os.kill(int(former.read_text()), 2)  # Ctrl-C
        wait(former)
    process = begin("server", command, environment)
    while process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as answer:
                return 0 if answer.status == 200 else 1
        except OSError:
            time.sleep(0.2)
    print((BACKGROUND / "server.log").read_text())
    return 1


def wait(process: Path) -> None:
    number = int(process.read_text())
    process.unlink()
    while alive(number):
        time.sleep(0.2)


def alive(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
