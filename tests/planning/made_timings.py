"""Timings of machines that do not exist."""

from hypothesis import strategies as st

from carclf.planning.candidates import ALL, HEAD, SCRATCH, Candidate
from carclf.planning.costs import PhotoCounts, PredictionTiming, Timing, Timings

PHOTOS = PhotoCounts(train=1440, val=160, predicted=400)


def timing(
    part: str, size: int, *, backbone: str = "", seconds: float = 0.01, once: float = 20.0, batch: int = 32
) -> Timing:
    """Returns the timing of a candidate that takes `seconds` for a training photo and a third for another."""
    name = backbone or ("tiny" if part == SCRATCH else "efficientnet_lite0")
    weights = "none" if part == SCRATCH else "imagenet"
    return Timing(
        candidate=Candidate(name, weights, str(size), part, batch),
        train_photos=160,
        val_photos=64,
        once_seconds=once,
        compile_seconds=once / 4,
        train_seconds=seconds,
        val_seconds=seconds / 3,
        pause_seconds=0.5,
    )


def timings_of(*stages: Timing) -> Timings:
    return Timings("Device: 1 CPU.", stages, PredictionTiming(start_seconds=5.0, run_seconds=4.0))


SCRATCH_TIMINGS = timings_of(*(timing(SCRATCH, size, seconds=size**2 * 1e-6) for size in (48, 64, 96, 128)))
PRETRAINED_TIMINGS = timings_of(
    *(timing(part, size, seconds=size**2 * 1e-6) for size in (128, 160, 224) for part in (HEAD, ALL))
)


@st.composite
def machines(draw: st.DrawFn) -> Timings:
    """Draws timings of both kinds, some candidates missing."""
    amounts = st.floats(1e-5, 1.0)
    kinds = draw(st.sampled_from([[SCRATCH], [HEAD, ALL], [HEAD]]))
    sizes = draw(st.lists(st.sampled_from([48, 96, 128, 224, 288]), min_size=1, max_size=3, unique=True))
    stages = [
        timing(part, size, seconds=draw(amounts), once=draw(st.floats(1.0, 300.0))) for size in sizes for part in kinds
    ]
    return timings_of(*stages)
