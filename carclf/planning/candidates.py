"""What a plan may be made of: backbones with local weights, image sizes, the part that trains; each with its stage."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence

from carclf.flags import refuse
from carclf.framing import parse_image_size
from carclf.model.backbones import Backbone, find_backbone
from carclf.model.local_weights import backbones_with_local_weights
from carclf.planning.effects import SIZES

HEAD, ALL, SCRATCH = "head", "all", "scratch"
# The stage whose options each part has but for those that the plan chooses.
STAGES = {HEAD: "mobilenet_v2_224_head", ALL: "mobilenet_v2_224_all", SCRATCH: "scratch_96"}
HEAD_EPOCHS = 4  # as in its stage
GROWN_RATE = 0.5  # of the learning rate, at a second size. Source: stages/demo_1.flags and stages/demo_2.flags
GRID_PX = 16
LARGEST_BATCH = 32


@dataclasses.dataclass(frozen=True, order=True)
class Candidate:
    """A stage as it is timed.

    Attributes:
      backbone: name of its row.
      weights: as in `--weights`.
      image_size: as in `--image_size`, one size.
      part: what trains: 'head', 'all' after a head, or 'scratch', all from random weights.
      batch_size: photos per step.
    """

    backbone: str
    weights: str
    image_size: str
    part: str
    batch_size: int

    @property
    def pixels(self) -> int:
        """Pixels of an image."""
        height, width = parse_image_size(self.image_size)
        return height * width

    @property
    def share(self) -> float:
        """The side of its image as a share of that of the backbone's own weights."""
        return float(self.pixels**0.5 / _own_size(self.backbone))

    def options(self) -> dict[str, str]:
        """Returns the options in which it differs from its stage."""
        return {
            "backbone": self.backbone,
            "weights": self.weights,
            "image_size": self.image_size,
            "batch_size": str(self.batch_size),
        }

    def __str__(self) -> str:
        """Returns what people call it."""
        trained = {HEAD: "head", ALL: "every layer", SCRATCH: "from random weights"}[self.part]
        return f"{self.backbone}, {trained}, {self.image_size} px"


@functools.cache
def _own_size(backbone: str) -> int:
    return find_backbone(backbone).default_size


def candidates(given: Mapping[str, str], *, train_photos: int) -> list[Candidate]:
    """Returns what is timed, in this order: backbone by backbone, from the smallest image to the largest.

    Without local weights it is the tiny network from random weights.

    Args:
      given: the options of the command line by name, which a plan does not change.
      train_photos: photos that a stage trains on; a batch is no larger.
    """
    batch = int(given.get("batch_size", min(LARGEST_BATCH, train_photos)))
    found: list[Candidate] = []
    for row, weights in _networks(given):
        parts = [SCRATCH] if weights == "none" else [HEAD, ALL]
        for size in [given["image_size"]] if "image_size" in given else sizes_of(row):
            found += [Candidate(row.name, weights, size, part, batch) for part in parts]
    return found


def _networks(given: Mapping[str, str]) -> Iterable[tuple[Backbone, str]]:
    """Returns backbones with their weights: that of the command line, those with local weights, or the tiny one."""
    if "backbone" in given:
        row = find_backbone(given["backbone"])
        return [(row, given.get("weights", "imagenet" if row.has_imagenet_weights else "none"))]
    if given.get("weights") == "none":
        return [(find_backbone("tiny"), "none")]
    weights = given.get("weights", "imagenet")
    refuse(weights != "imagenet", "weights", weights, "--plan takes a file with the --backbone that it belongs to")
    local: Sequence[Backbone] = backbones_with_local_weights()
    return [(row, "imagenet") for row in local] or [(find_backbone("tiny"), "none")]


def sizes_of(row: Backbone) -> list[str]:
    """Returns the sides of the images, as text: shares of the backbone's own size, on a grid, ascending."""
    own = row.default_size
    sides = {own if share == 1 else max(round(share * own / GRID_PX) * GRID_PX, row.minimal_size) for share in SIZES}
    return [str(side) for side in sorted(sides)]
