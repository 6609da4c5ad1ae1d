"""Which features of a frozen backbone a stage keeps, and whether its head starts from a regression on them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from carclf.framing import parse_image_sizes
from carclf.recipe import Recipe, parse_recipe
from carclf.train_options import TrainOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeaturePlan:
    """What is kept of each training photo; validation photos are kept undrawn.

    Attributes:
      undrawn: whether the first view is the photo without augmentation.
      draws: number of augmented views, those of the first epochs.
      regression: whether the head starts from a regression on them.
    """

    undrawn: bool
    draws: int
    regression: bool

    @property
    def views(self) -> dict[str, int | None]:
        """The name of each view, and the epoch whose draws it has; None for undrawn photos."""
        undrawn = {"train-undrawn": None} if self.undrawn else {}
        return undrawn | {f"train-{draw}": draw for draw in range(self.draws)}


def plan_features(
    options: TrainOptions, *, recipe: Recipe, begun: Mapping[str, Any] | None = None
) -> FeaturePlan | None:
    """Returns what a stage keeps, or None if it trains on photos.

    By default, if the backbone is frozen and the recipe mixes nothing, these are the photos and one draw of each.

    Args:
      options: of the stage.
      recipe: its augmentation.
      begun: stage.json of the run that is resumed, whose plan it keeps.
    """
    if begun is not None:
        return _begun_with(options, begun)
    regression = options.head_start == "regression" or (options.head_start == "auto" and not options.init_from)
    if options.feature_views:
        return FeaturePlan(undrawn=False, draws=options.feature_views, regression=regression)
    if not (options.keep_features and can_keep_features(options, recipe)):
        return None
    return FeaturePlan(undrawn=True, draws=int(bool(recipe.steps)), regression=regression)


def keeps_features(options: TrainOptions) -> bool:
    """Returns whether a training with these options keeps features; a range test never does."""
    training = dataclasses.replace(options, find_lr=False)
    return plan_features(training, recipe=parse_recipe(options.augment)) is not None


def can_keep_features(options: TrainOptions, recipe: Recipe) -> bool:
    """Returns whether the features of a photo are the same whenever the backbone sees it."""
    first_size, last_size = parse_image_sizes(options.image_size)
    return (
        options.unfreeze == "head"
        and first_size == last_size
        and not (recipe.mixes or options.augment_validation or options.find_lr)
        and options.num_hosts == 1
    )


def _begun_with(options: TrainOptions, begun: Mapping[str, Any]) -> FeaturePlan | None:
    """Returns the plan in stage.json; carclf 0.1 wrote none, and kept draws only where the options said so."""
    if "features" in begun:
        return FeaturePlan(**begun["features"]) if begun["features"] else None
    return FeaturePlan(undrawn=False, draws=options.feature_views, regression=False) if options.feature_views else None
