"""`python -m carclf.make_tfrecords`: converts photos to TFRecord shards, once and offline.

tools/make_tfrecords.py does the same.
"""

import os

from carclf.command import run_command
from carclf.convert.options import ConvertOptions

DESCRIPTION = """Converts photos to TFRecord shards: validates every photo, makes stratified folds, writes the same
bytes each time.

The input is the competition's zip, a folder with train.zip and test.zip, the unpacked competition, class folders, or a
folder of photos with --labels=CSV. The command prints what it recognised.
Example: python -m carclf.make_tfrecords --input=cars.zip --output=data/cars"""


def main(options: ConvertOptions) -> None:
    """Converts or verifies the data set."""
    # NumPy reads it when it is imported, here and in every worker. Each worker has a core of its own, where the threads
    # of OpenBLAS, one for each core in each worker, would only take turns.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if options.verify:
        from carclf.convert.verify import verified_table, verify

        manifest = verify(options.verify, workers=options.workers)
        print(verified_table(manifest))
        print(f"{options.verify} is whole: every hash, every count and every photo was checked.")
        return
    from carclf.convert.converter import convert
    from carclf.convert.summary import summary

    converted = convert(options)
    if converted is not None:
        print(summary(converted))


if __name__ == "__main__":
    run_command(main, ConvertOptions, description=DESCRIPTION)
