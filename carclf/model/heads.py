"""The table of heads: what follows the backbone, from its feature map to the logits."""

import dataclasses
from typing import Literal

from carclf.errors import UserError
from carclf.flags import did_you_mean

Pooling = Literal["mean", "attention"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Head:
    """One row of `HEADS`. A regression start, kept features and heat maps read the layers that the row leads to.

    Attributes:
      pooling: how the positions of the feature map become one vector: their mean, or a weighted mean whose weights are
        learned (`carclf.model.pooling.AttentionPooling`).
      hidden: whether a hidden layer with BatchNorm and ReLU follows the pooling; otherwise the logits are linear in the
        pooled features.
    """

    pooling: Pooling = "mean"
    hidden: bool = False


HEADS: dict[str, Head] = {
    "notebook": Head(hidden=True),  # the 2020 notebook's
    "linear": Head(),
    "attention": Head(pooling="attention"),
}


def find_head(name: str) -> Head:
    """Returns the row of that name.

    Raises:
      UserError: there is none.
    """
    if name not in HEADS:
        raise UserError(f"There is no head {name!r}: {did_you_mean(name, HEADS)}Known are {', '.join(HEADS)}.")
    return HEADS[name]
