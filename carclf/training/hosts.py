"""Several hosts that train one run: host 0 writes it, and the other hosts' files are discarded."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from carclf import runs
from carclf.errors import UserError
from carclf.scratch import scratch_folder
from carclf.train_options import TrainOptions


@contextlib.contextmanager
def folder_of_host(options: TrainOptions, directory: Path) -> Iterator[tuple[TrainOptions, Path]]:
    """Yields the options and the folder of the run for this host.

    Host 0 gets them unchanged. Every other host works in a temporary folder and prints nothing but errors. If the run
    in `directory` is resumed, it starts from a copy of it, so that all hosts start at the same step.
    """
    if options.host == 0:
        yield options, directory
        return
    resumes = options.resume and not options.overwrite and (directory / runs.STAGE_FILE).is_file()
    with scratch_folder() as folder, open(os.devnull, "w") as nowhere:
        copied = str(directory) if resumes else options.resume_from
        with contextlib.redirect_stdout(nowhere):
            mine = folder / directory.name
            yield dataclasses.replace(options, run=str(mine), resume_from=copied), mine


def check_same_step(step: int) -> None:
    """Checks that every host starts at this step.

    Raises:
      UserError: they do not, because some of them do not see the run.
    """
    import jax

    if jax.process_count() == 1:
        return
    from jax.experimental import multihost_utils

    steps = np.asarray(multihost_utils.process_allgather(np.int32(step))).tolist()
    if len(set(steps)) > 1:
        raise UserError(
            f"The hosts would start at different steps ({', '.join(map(str, steps))}): --runs must be a folder that "
            "every host sees, or give every one the same copy as --resume_from."
        )
