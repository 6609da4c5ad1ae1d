"""`python -m carclf.serve`: serves a page on this machine that classifies the photos dropped on it."""

import dataclasses
import sys
import time

from carclf import runs
from carclf.command import run_command
from carclf.errors import UserError
from carclf.extras import install_command, missing_packages
from carclf.flags import Options, option, require_flags, same_option
from carclf.prediction_options import PredictionOptions
from carclf.progress import Progress
from carclf.train_options import TrainOptions

DESCRIPTION = """Serves a web page that classifies photos, and POST /api/classify for programs, by default only on this
machine.

Several runs, separated by commas, answer with the mean of their probabilities.
Example: python -m carclf.serve --run=runs/b3_512 --port=8080"""

PACKAGES = {"starlette": "starlette", "uvicorn": "uvicorn", "python_multipart": "python-multipart"}


@dataclasses.dataclass(frozen=True)
class ServeOptions(Options):
    """Every option of `python -m carclf.serve`."""

    required = ("run", "host")

    run: str = same_option(PredictionOptions, "run", group="Run")
    runs: str = same_option(PredictionOptions, "runs", group="Run")
    host: str = option(
        "127.0.0.1",
        "Address to listen on; 0.0.0.0 opens the server to the whole network, without a password.",
        group="Server",
    )
    allow_host: str = option(
        "",
        "Host names, separated by commas, under which a proxy makes the server known, such as notebooks.example.org.",
        group="Server",
    )
    port: int = option(8080, "Port to listen on; 0 is any free one.", low=0, high=65535, group="Server")
    max_mb: float = option(20.0, "Size limit of an uploaded file in MB.", above=0, high=1000, group="Server")
    device: str = same_option(TrainOptions, "device", names=(), choices=("auto", "cpu", "gpu", "tpu"))
    engine: str = same_option(PredictionOptions, "engine")

    def __post_init__(self) -> None:
        """Checks each option, and that no required one is missing."""
        super().__post_init__()
        require_flags(self, *self.required)


def main(options: ServeOptions) -> None:
    """Loads the runs, warms up and serves."""
    members = runs.load_members(options.run, runs=options.runs)
    if missing := missing_packages(PACKAGES):
        raise UserError(
            f"The page needs {' and '.join(missing)}, which {'are' if len(missing) > 1 else 'is'} not installed: "
            f"{install_command('serve')}."
        )

    from carclf.serving.server import bind, run_server

    opened = bind(options.host, options.port)
    if warning := exposure(options.host):
        print(f"Warning: {warning}", file=sys.stderr)

    from carclf.device import select_device, take_one

    found = select_device(options.device, precision=members[0].runs[0].options.precision)
    device = take_one(found) if found.replicas > 1 else found
    print(device.describe(), flush=True)
    if found.replicas > 1:
        print(f"The server answers on one of {found.replicas} devices: few photos come at a time.", flush=True)

    # Keras may be imported only from here on, after its backend was chosen.
    from carclf.engines.choice import plan_engines
    from carclf.serving.app import build_app
    from carclf.serving.model import ServedModel

    engines = plan_engines(options.engine, device)
    started = time.perf_counter()
    with Progress("Loading and warming up"):
        model = ServedModel(members, jit=device.jit, engines=engines)
        model.warm_up()
    seconds = time.perf_counter() - started
    name = " + ".join(member.name for member in members)
    app = build_app(
        model,
        name=name,
        host=options.host,
        max_bytes=int(options.max_mb * 1e6),
        allowed_hosts=host_names(options.allow_host),
    )
    host = f"[{options.host}]" if ":" in options.host else options.host
    address = f"http://{host}:{opened.getsockname()[1]}"
    run_server(
        app,
        opened=opened,
        announce=lambda: print(
            f"Ready: {address} ({name}, {len(model.class_names)} classes, warm after {seconds:.0f} s; Ctrl-C ends it)",
            flush=True,
        ),
    )
    print("Stopped.")


def host_names(text: str) -> list[str]:
    """Returns the names in a list separated by commas; for an address, only the host name is used."""
    from carclf.serving.guards import host_name

    return [host_name(part.split("//")[-1].split("/")[0].strip()) for part in text.split(",") if part.strip()]


def exposure(host: str) -> str:
    """Returns a sentence about who can reach an address besides this machine; '' if nobody can."""
    from carclf.serving.guards import is_loopback

    if is_loopback(host):
        return ""
    return (
        f"whoever reaches {host} can use this server, without a password: use --host=127.0.0.1, or put a proxy with a "
        "password in front of it."
    )


if __name__ == "__main__":
    run_command(main, ServeOptions, description=DESCRIPTION)
