import os

from carclf.start_messages import without_start_messages


def test_what_every_start_prints_is_held_back_and_the_rest_is_passed_on(capfd):
    with without_start_messages():
        for line in (
            b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n",
            b"I0000 00:00:1 2 device_compiler.h:196] Compiled cluster using XLA!  This line is logged at most once.\n",
            b"E cuda_platform.cc:51] failed call to cuInit: INTERNAL: CUDA error: UNKNOWN ERROR (303)\n",
            b"E cuda_platform.cc:51] failed call to cuInit: INTERNAL: CUDA error: UNKNOWN ERROR (999)\n",
        ):
            os.write(2, line)
    assert capfd.readouterr().err.splitlines() == [
        "E cuda_platform.cc:51] failed call to cuInit: INTERNAL: CUDA error: UNKNOWN ERROR (999)"
    ]
