"""Rebuilds the Python environments of notebook sites, and checks that carclf fits into them.

`python tests/images/rebuild.py colab kaggle` makes an environment for each list in carclf/packing/images/, with
the versions in it; installs carclf into it, which must change none of them; installs it again from a pack, where no
network is, and predicts there with the pack's run to the same bytes; then runs the commands' help, the demo, the
notebooks and the quick suite. `make test-images` does so for all. `--suite=whole` runs every test instead.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LISTS = ROOT / "carclf" / "packing" / "images"
TOOLS = (
    "pytest>=8.2,<9",
    "pytest-xdist>=3.6",
    "hypothesis>=6.100",
    "imagehash>=4.3",
    "nbclient>=0.10",
    "nbformat>=5.10",
    "ipykernel>=6.17",
)
# Of the suite, what meets the packages of an image: every command, and what lies between the photos and a submission.
QUICK_SUITE = (
    "tests/test_commands.py", "tests/test_end_to_end.py", "tests/test_public_api.py", "tests/test_notebooks.py",
    "tests/test_start_messages.py", "tests/convert/test_converter.py", "tests/convert/test_verify.py",
    "tests/data/test_cache.py", "tests/data/test_decoder.py", "tests/data/test_loader.py",
    "tests/data/test_pipeline.py", "tests/inference/test_dataset_predictions.py", "tests/inference/test_submission.py",
    "tests/inference/test_unseen.py", "tests/model/test_classifier.py", "tests/model/test_efficientnet_lite.py",
    "tests/model/test_render.py", "tests/packing/test_install.py", "tests/recipe", "tests/report", "tests/runs",
    "tests/training/test_checkpoints.py",
)  # fmt: skip
WITHOUT_TENSORFLOW = ("colab_tpu",)  # the extra cpu adds it, and Keras runs on the image's JAX
ALONE = ("unshare", "--net", "--map-root-user")  # where no network is
STEPS = ("pack", "help", "demo", "notebooks", "suite")
PHOTOS = ("--photos=40", "--width=64", "--height=48")
TRAIN = ("--backbone=tiny", "--weights=none", "--image_size=32", "--batch_size=8", "--epochs=1", "--augment=none")


def main() -> None:
    """Rebuilds each image, and ends with an error at the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    images = sorted(path.stem for path in LISTS.glob("*.txt"))
    parser.add_argument("images", nargs="*", help=f"some of {', '.join(images)}; all by default")
    parser.add_argument("--steps", default=",".join(STEPS), help=f"some of {', '.join(STEPS)}")
    parser.add_argument("--suite", default="quick", choices=("quick", "whole"))
    options = parser.parse_args()
    if unknown := {*options.images} - {*images}:  # with `choices` Python 3.11 refuses that none is named
        parser.error(f"there is no image {', '.join(unknown)}")
    for image in options.images or images:
        rebuild(image, steps=options.steps.split(","), suite=QUICK_SUITE if options.suite == "quick" else ())


def rebuild(image: str, *, steps: Sequence[str], suite: Sequence[str]) -> None:
    """Makes the environment of an image and runs the steps in it; no names of tests are all tests."""
    constraints = LISTS / f"{image}.txt"
    python = find_python(re.search(r"^# Python (\S+)$", constraints.read_text(), re.MULTILINE)[1])
    folder = ROOT / f".venv-{image.replace('_', '-')}"
    say(image, f"{python} in {folder}")
    run(python, "-m", "venv", "--clear", folder)
    own = folder / "bin" / "python"
    run(own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", constraints)
    before = installed(own)
    extra = "[cpu]" if image in WITHOUT_TENSORFLOW else ""
    backend = {"KERAS_BACKEND": "jax"} if image in WITHOUT_TENSORFLOW else {}
    run(own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *kept(folder, before), f"{ROOT}{extra}")
    after = installed(own)
    moved = {name: (version, after.get(name)) for name, version in before.items() if after.get(name) != version}
    if moved:
        sys.exit(f"{image}: installing carclf changes {moved}.")
    say(image, f"none of {len(before)} packages changed, {len(after) - len(before)} were added")
    if "pack" in steps:
        install_from_pack(own, image, added=sorted({"carclf", *after} - set(before)), environment=backend)
        say(image, "a pack installs the same without a network, and predicts the same bytes")
    if "help" in steps:
        for command in commands(own, folder=folder):
            run(own, "-m", f"carclf.{command}", "--help", quiet=True, folder=folder)
        say(image, "every command answers --help")
    if "demo" in steps:
        run(own, "benchmarks/demo.py", f"--output={folder / 'demo'}", environment=backend)
    if {"notebooks", "suite"} & {*steps}:
        run(own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *kept(folder, after), *TOOLS)
    if "notebooks" in steps:
        extras = "--extras=" + ",".join(["cpu"] * (image in WITHOUT_TENSORFLOW) + ["lite"])
        run(own, "tests/images/run_notebooks.py", folder / "notebooks", extras, environment=backend)
    if "suite" in steps:
        # The extra export is no part of these images.
        ignored = "--ignore=tests/exporting"
        run(own, "-m", "pytest", "--numprocesses=2", "--dist=loadfile", ignored, *suite, environment=backend)
    say(image, f"passed: {', '.join(steps)}")


def install_from_pack(python: Path, image: str, *, added: Sequence[str], environment: dict[str, str]) -> None:
    """Installs carclf and what it has added from a pack for the image, and predicts with it, without a network.

    The versions, the submission and the probabilities are those of before.
    """
    folder = python.parents[1] / "packing"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    there = {"folder": folder, "environment": environment}
    run(python, "-m", "carclf.sample", "--output=photos", *PHOTOS, **there)
    run(python, "-m", "carclf.make_tfrecords", "--input=photos", "--output=data", **there)
    run(python, "-m", "carclf.train", "--run=one", "--data=data", *TRAIN, **there)
    predict = ("-m", "carclf.predict", "--data=data", "--tta=clean|flip")
    run(python, *predict, "--run=one", "--output=before.csv", "--probabilities=before_p.csv", **there)
    wanted = installed(python)
    run(python, "-m", "carclf.pack", f"--image={image}", "--run=one", "--output=pack", **there)
    run(python, "-m", "pip", "uninstall", "--quiet", "--yes", *added)
    run(*ALONE, python, "pack/install.py", **there)
    if (found := installed(python)) != wanted:
        sys.exit(f"{image}: the pack installs {sorted(set(found.items()) ^ set(wanted.items()))}.")
    (folder / "runs").rename(folder / "unused")
    run(*ALONE, python, *predict, "--run=pack/runs/one", "--output=after.csv", "--probabilities=after_p.csv", **there)
    for before, after in (("before.csv", "after.csv"), ("before_p.csv", "after_p.csv")):
        if (folder / before).read_bytes() != (folder / after).read_bytes():
            sys.exit(f"{image}: {folder / after}, predicted from the pack, is not {before}.")


def find_python(version: str) -> str:
    """Returns an interpreter of a version such as '3.13': on the path, or pyenv's."""
    shims = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    for candidate in (f"python{version}", *map(str, shims)):
        try:
            answer = subprocess.run([candidate, "-c", "import venv"], capture_output=True)
        except FileNotFoundError:
            continue
        if answer.returncode == 0:
            return candidate
    sys.exit(f"There is no Python {version}: install it, such as with pyenv install {version}.")


def installed(python: Path) -> dict[str, str]:
    """Returns package → version, without carclf and the installers."""
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    packages = dict(line.split("==") for line in listed.split())
    return {name: version for name, version in packages.items() if name not in ("carclf", "pip", "setuptools")}


def commands(python: Path, *, folder: Path) -> list[str]:
    """Returns the commands of the installed carclf; `folder` holds no clone of it."""
    words = [python, "-c", "from carclf.__main__ import commands; print(*commands())"]
    environment = os.environ | {"PYTHONPATH": ""}
    found = subprocess.run(words, check=True, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    return found.stdout.split()


def kept(folder: Path, packages: dict[str, str]) -> tuple[str, str]:
    """Returns the arguments that let pip add packages, but change none."""
    path = folder / "installed.txt"
    path.write_text("".join(f"{name}=={version}\n" for name, version in packages.items()))
    return "--constraint", str(path)


def run(*words: object, quiet: bool = False, folder: Path = ROOT, environment: dict[str, str] | None = None) -> None:
    """Runs a command, by default in the clone; its failure ends everything."""
    shown = subprocess.DEVNULL if quiet else None
    path = os.environ | {"PYTHONPATH": ""} | (environment or {})
    code = subprocess.run([str(word) for word in words], cwd=folder, stdout=shown, env=path).returncode
    if code:
        sys.exit(f"{' '.join(map(str, words))} ended with {code}.")


def say(image: str, what: str) -> None:
    """Prints a line about an image."""
    print(f"[{image}] {what}", flush=True)


if __name__ == "__main__":
    main()
