"""Run by test_many_devices.py, where Keras runs on JAX with eight devices: serves a run, then explains photos on three.

Prints, after what the server says, the number of photos that have a heat map.
"""

import sys
from pathlib import Path

from carclf import serve
from carclf.data.manifest import load_manifest
from carclf.runs import load_run
from carclf.serving import model, server

RUN, DATA = sys.argv[1:]


def main() -> None:
    """Serves without a client, and computes heat maps."""
    model.BATCH_SIZES = (1, 4)  # one less to compile
    server.run_server = lambda app, *, opened, announce: opened.close()  # type: ignore[assignment]
    serve.main(serve.ServeOptions(run=RUN, port=0, device="cpu"))

    import jax

    from carclf import device
    from carclf.inference.attention import photo_heat
    from carclf.inference.programs import load_classifier

    device._share_batches(jax.devices()[:3])
    run = load_run(Path(RUN))
    classifier, framing = load_classifier(run)
    labels = {0: (0,), 3: (1, 2)}
    found = photo_heat(
        classifier, framing=framing, rendering=run.rendering, manifest=load_manifest(DATA), split="train", labels=labels
    )
    print(sorted((row, heat.shape[-1]) for row, (heat, _) in found.items()))


main()
