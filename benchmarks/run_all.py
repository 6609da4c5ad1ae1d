"""`make bench`: small runs of the benchmarks on drawn photos; each prints a table with its control.

Example: python benchmarks/run_all.py --output=bench"""

import dataclasses
import subprocess
import sys
import time
from pathlib import Path

from carclf.command import run_command
from carclf.errors import UserError
from carclf.flags import Options, option

HERE = Path(__file__).resolve().parent


@dataclasses.dataclass(frozen=True)
class AllOptions(Options):
    """Every option of this command."""

    output: str = option("bench", "Folder for the drawn photos and the figures.")
    photos: int = option(320, "Training photos to draw.", low=1)


def main(options: AllOptions) -> None:
    """Draws the photos and runs one benchmark after the other."""
    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    photos = output / f"photos-{options.photos}"
    run([sys.executable, "-m", "carclf.sample", f"--output={photos}", f"--photos={options.photos}"])
    for name, flags in (
        ("convert.py", ["--count=600", "--repeats=1"]),
        ("input.py", ["--seconds=1.5", "--repeats=1", "--most=200"]),
    ):
        source = photos / "train"
        run([sys.executable, str(HERE / name), f"--photos={source}", f"--json={output / name}.json", *flags])


def run(command: list[str]) -> None:
    """Runs a command and prints how long it took.

    Raises:
      UserError: it failed.
    """
    print(f"$ {' '.join(command)}", flush=True)
    started = time.perf_counter()
    if code := subprocess.run(command).returncode:
        raise UserError(f"{command[1]} ended with exit code {code}: see above.")
    print(f"({time.perf_counter() - started:.0f} s)\n", flush=True)


if __name__ == "__main__":
    run_command(main, AllOptions, description=__doc__ or "")
