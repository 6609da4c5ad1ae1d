"""Which engine computes the networks of a command: the one that was asked for, or the fastest in a timed trial."""

import dataclasses
import sys
import time
from collections.abc import Callable, Hashable, Mapping
from typing import NamedTuple

import keras
import numpy as np

from carclf.device import Device
from carclf.engines.agreement import TOLERANCE
from carclf.engines.frozen import FrozenGraph, freeze
from carclf.engines.table import ENGINES, Engine, Forward
from carclf.errors import UserError
from carclf.extras import install_command
from carclf.workers import usable_cores

AUTO, KERAS = "auto", "keras"
CHOOSERS = ("auto",)  # values of --engine that are no row of ENGINES
TRIAL_IMAGES = 16
TRIAL_ROUNDS = 2
LEAST_GAIN = 1.1  # how many times as fast as Keras an engine must be to take over
EXPECTED_SAVING = 0.4  # of Keras's seconds by an engine, before a trial has measured it
FURTHER_SAVING = 0.1  # by the choice among several engines
FREEZING = 1.0  # how long freezing takes, in units of Keras's first batch, which compiles


@dataclasses.dataclass(frozen=True)
class EngineChoice:
    """What a trial chose for all networks that are alike.

    Attributes:
      name: a key of `ENGINES`.
      saved_seconds: per image, compared with Keras.
      cost_seconds: of loading the network.
    """

    name: str
    saved_seconds: float = 0.0
    cost_seconds: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """What is known when an engine is chosen.

    Attributes:
      left: images that are still to be computed.
      first_seconds: of Keras's first batch, which compiles.
      image_seconds: of Keras, per image.
      images: returns float32 [B, H, W, 3], rendered from photos.
      expected: float32 [B, …], the outputs of Keras for them.
    """

    left: float
    first_seconds: float
    image_seconds: float
    images: Callable[[], np.ndarray]
    expected: np.ndarray


class Taken(NamedTuple):
    """A network that an engine has taken over.

    Attributes:
      name: of the engine, a key of `ENGINES`.
      forward: the network in it.
      by_keras: the same in Keras, for any batch.
    """

    name: str
    forward: Forward
    by_keras: Forward


class Engines:
    """Loads networks into engines, in one thread, and remembers what was chosen for networks that are alike.

    Attributes:
      asked: `AUTO`, or a key of `ENGINES`.
      candidates: the engines other than Keras that may be chosen; none if Keras computes everything.
      used: the engines that have computed anything, by their names in `ENGINES`, in the order of their first use.
      rehearsing: whether the images are not photos; an engine that takes over is compared again on the first photos.
    """

    def __init__(self, asked: str = KERAS, candidates: Mapping[str, Engine] | None = None) -> None:
        """See `plan_engines`."""
        self.asked = asked
        self.candidates = dict(candidates or {})
        self.used: list[str] = []
        self.rehearsing = False
        self._chosen: dict[Hashable, EngineChoice] = {}

    def note(self, name: str) -> None:
        """Records that an engine was used."""
        if name not in self.used:
            self.used.append(name)

    def describe(self) -> str:
        """Returns the engines that were used, such as 'Keras and OpenVINO'."""
        return " and ".join(ENGINES[name].title for name in self.used)

    def load(
        self, network: keras.Model, work: Work, *, difference: Callable[[np.ndarray, np.ndarray], float]
    ) -> Taken | None:
        """Returns the engine that takes over from Keras; None if Keras continues.

        Prints the rates of a trial. An engine that cannot run the network or disagrees with Keras is named on stderr.

        Args:
          network: image float32 [B, H, W, 3] → float32 [B, …].
          work: what is known so far.
          difference: of found and expected outputs (`carclf.engines.agreement`).
        """
        alike = (network.input.shape, network.output.shape, network.count_params())
        names = self._worth_loading(work, known=self._chosen.get(alike))
        if not names:
            return None
        started = time.perf_counter()
        images = work.images()
        try:
            graph = freeze(network)
        except Exception as error:  # whatever a network of KerasHub may hold
            warn_of(error, self.candidates[names[0]])
            return None
        frozen_seconds = time.perf_counter() - started
        loaded: dict[str, Forward] = {}
        costs: dict[str, float] = {}
        for name in names:
            started = time.perf_counter()
            forward = load_checked(
                self.candidates[name], graph, images=images, expected=work.expected, difference=difference
            )
            costs[name] = frozen_seconds + time.perf_counter() - started
            if forward is not None:
                loaded[name] = forward
        if self.asked == AUTO and alike not in self._chosen:
            self._chosen[alike] = fastest(graph, loaded, costs, images=images)
        name = self._chosen[alike].name if alike in self._chosen else self.asked
        return Taken(name, loaded[name], graph.by_keras) if name in loaded else None

    def _worth_loading(self, work: Work, *, known: EngineChoice | None) -> list[str]:
        """Returns the engines to load: of `AUTO`, those whose loading pays off on the images that are left."""
        if self.asked != AUTO:
            return list(self.candidates)
        if known is not None:
            return [known.name] if work.left * known.saved_seconds > known.cost_seconds else []
        names: list[str] = []
        round_seconds = (1 + TRIAL_ROUNDS) * TRIAL_IMAGES * work.image_seconds
        cost = FREEZING * work.first_seconds + round_seconds
        for name, row in sorted(self.candidates.items(), key=lambda item: item[1].conversion):
            cost += row.conversion * work.first_seconds + round_seconds
            saving = FURTHER_SAVING if names else EXPECTED_SAVING
            if cost < saving * work.left * work.image_seconds:
                names.append(name)
                cost = 0.0
        return names


def plan_engines(asked: str, device: Device) -> Engines:
    """Returns the engines that may compute a command's networks on this device.

    Args:
      asked: `AUTO`, or a key of `ENGINES`. `AUTO` is Keras where nothing else is installed or possible.
      device: from `select_device`.

    Raises:
      UserError: the engine that is asked for does not run on this device, or is not installed.
    """
    others = {name: row for name, row in ENGINES.items() if row.load is not None}
    reason = _why_keras_alone(device)
    if asked in others:
        if reason:
            raise UserError(f"--engine={asked} is not possible {reason}: leave it out, or use --engine=keras.")
        if missing := others[asked].missing:
            raise UserError(
                f"--engine={asked} needs {' and '.join(missing)}, which {'are' if len(missing) > 1 else 'is'} not "
                f"installed: {install_command(asked)}, or leave it out."
            )
        return Engines(asked, {asked: others[asked]})
    possible = asked == AUTO and not reason
    return Engines(asked, {name: row for name, row in others.items() if possible and not row.missing})


def _why_keras_alone(device: Device) -> str:
    """Returns why only Keras can compute on this device, to follow 'is not possible'; '' if others can, too."""
    if device.kind != "cpu":
        return f"on a {device.kind.upper()}, where Keras is the fastest"
    if device.backend != "tensorflow":
        return f"with Keras on {device.backend}, whose networks it cannot read"
    if device.precision != "float32":
        return f"for a run in {device.precision}, since it computes in float32"
    return "on a CPU that is split into several devices" if device.replicas > 1 else ""


def load_checked(
    row: Engine,
    graph: FrozenGraph,
    *,
    images: np.ndarray,
    expected: np.ndarray,
    difference: Callable[[np.ndarray, np.ndarray], float],
) -> Forward | None:
    """Returns the network in an engine; None, with a warning on stderr, if it fails or disagrees with Keras.

    Args:
      row: the engine.
      graph: the network.
      images: float32 [B, H, W, 3], rendered from photos.
      expected: float32 [B, …], the outputs of Keras for them.
      difference: of found and expected outputs (`carclf.engines.agreement`).
    """
    assert row.load is not None
    try:
        forward = row.load(graph, usable_cores())
        apart = difference(forward(images), expected)
    except Exception as error:  # the engines' errors have no base in common
        warn_of(error, row)
        return None
    return forward if agrees(apart, row) else None


def warn_of(error: Exception, row: Engine) -> None:
    """Says on stderr that an engine cannot run a network."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    print(f"Warning: {row.title} cannot run this network ({reason}), so Keras does.", file=sys.stderr, flush=True)


def agrees(apart: float, row: Engine) -> bool:
    """Returns whether a difference from Keras is within the tolerance; if not, says on stderr that Keras answers."""
    if apart <= TOLERANCE:
        return True
    print(
        f"Warning: {row.title} and Keras differ by {apart:.2g} on the first photos, more than {TOLERANCE:g}, so Keras "
        "answers.",
        file=sys.stderr,
        flush=True,
    )
    return False


def fastest(
    graph: FrozenGraph, loaded: Mapping[str, Forward], costs: Mapping[str, float], *, images: np.ndarray
) -> EngineChoice:
    """Returns the fastest of Keras and the loaded engines, timed in turn on the same images; prints their rates.

    Args:
      graph: the network, for Keras.
      loaded: the network in each engine, by name.
      costs: seconds that loading took, by name.
      images: float32 [B, H, W, 3]; the first `TRIAL_IMAGES` are used.
    """
    if not loaded:
        return EngineChoice(KERAS)
    images = images[:TRIAL_IMAGES]
    seconds = dict.fromkeys([KERAS, *loaded], float("inf"))
    forwards = {KERAS: graph.by_keras, **loaded}
    for forward in forwards.values():
        forward(images)
    for _ in range(TRIAL_ROUNDS):
        for name, forward in forwards.items():
            started = time.perf_counter()
            forward(images)
            seconds[name] = min(seconds[name], (time.perf_counter() - started) / len(images))
    best = min(seconds, key=lambda name: seconds[name])
    if seconds[KERAS] < LEAST_GAIN * seconds[best]:
        best = KERAS
    others = ", ".join(f"{ENGINES[name].title} {1 / seconds[name]:.0f}" for name in seconds if name != best)
    print(f"Engine: {ENGINES[best].title}, {1 / seconds[best]:.0f} images/s ({others}).", flush=True)
    return EngineChoice(best, seconds[KERAS] - seconds[best], costs.get(best, 0.0))
