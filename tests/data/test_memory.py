"""The memory used for reading does not depend on the number of photos."""

import subprocess
import sys

import pytest

from tests.conftest import write_dataset

READ = """
import itertools, os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from carclf.data.manifest import load_manifest
from carclf.data.pipeline import training_batches
from carclf.framing import Framing
from carclf.recipe import parse_recipe

batches = training_batches(
    manifest=load_manifest(sys.argv[1]), folds=[0, 1], framing=Framing(image_size=(32, 32)),
    recipe=parse_recipe("notebook"), batch_size=16, epochs=1000, seed=0,
)
for _ in itertools.islice(batches, 1000):
    pass
rollup = open("/proc/self/smaps_rollup").read().splitlines()
print(sum(int(line.split()[1]) for line in rollup if line.startswith("Private_")) / 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_sixteen_times_the_photos_take_the_same_memory(tmp_path):
    private_mb = []
    for name, photos in (("small", 250), ("large", 4000)):
        manifest = write_dataset(tmp_path / name, folds=2, photos_a_fold=photos, test_photos=0)
        answer = subprocess.run([sys.executable, "-c", READ, manifest.directory], capture_output=True, text=True)
        assert answer.returncode == 0, answer.stderr
        private_mb.append(float(answer.stdout))
    assert private_mb[1] < private_mb[0] + 10, private_mb  # their shards differ by 20 MB and their indices by 350 kB
