"""Files of features hold what was computed and claim no room that the disk has not given them."""

import os
import resource

import numpy as np
import pytest

from carclf.errors import full_disk
from carclf.training.feature_files import writing_features

ROWS = np.random.default_rng(0).normal(size=(40, 3, 100)).astype(np.float32)


def write(path, dtype, *, photos):
    with writing_features(path, shape=(photos, 3, 100), dtype=np.dtype(dtype)) as append:
        return [append(ROWS[start : start + 10]) for start in range(0, len(ROWS), 10)]


def test_what_is_appended_is_the_file_without_padding(tmp_path):
    path = tmp_path / "a.npy"
    for dtype in (np.float32, np.float16):
        assert write(path, dtype, photos=37) == [10, 10, 10, 7]
        found = np.load(path, mmap_mode="r")
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, ROWS[:37].astype(dtype))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.npy", "a.npy.sha256"]


def test_a_disk_that_fills_up_meanwhile_is_one_sentence_and_leaves_nothing(tmp_path):
    path, (soft, hard) = tmp_path / "a.npy", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            write(path, np.float32, photos=40)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(full_disk(caught.value)).startswith(f"{path} could not be written (File too large)")
    assert os.listdir(tmp_path) == []
