"""The order of training photos: a pure function of (seed, epoch) and of the shards."""

import numpy as np

INTERLEAVED_SHARDS = 8  # read in parallel, so that neighbours in a shard are not in the same batch
SHUFFLED_PHOTOS = 8192  # distance over which a photo is shuffled, about 650 MB of the competition's shards


def epoch_order(shards: np.ndarray, *, seed: int, epoch: int, shuffled_photos: int = SHUFFLED_PHOTOS) -> np.ndarray:
    """Returns int64 [N], a permutation of the photos.

    Shards come in random order, INTERLEAVED_SHARDS of them in parallel, and photos are shuffled among their neighbours:
    reading stays local to a part of the data set, which suits slow disks and the operating system's cache. A set up to
    that distance is shuffled as a whole, with every order equally likely.

    Args:
      shards: int [N], the shard of each photo; photos of a shard are contiguous.
      seed: any integer; its lowest 64 bits count.
      epoch: 0 or more.
      shuffled_photos: the distance.
    """
    generator = np.random.Generator(np.random.Philox(key=np.array([seed % 2**64, epoch], np.uint64)))
    count = len(shards)
    if count <= shuffled_photos:
        return generator.permutation(count)
    _, first, shard = np.unique(shards, return_index=True, return_inverse=True)
    rank = generator.permutation(len(first))[shard]
    index_in_shard = np.arange(count) - first[shard]
    interleaved = np.lexsort((rank, index_in_shard, rank // INTERLEAVED_SHARDS))
    return interleaved[np.argsort(np.arange(count) + generator.uniform(0, shuffled_photos, count))]
