"""The text of `--budget`, and how durations are written in a plan."""

import math
import re

from carclf.errors import UserError

UNITS = {"h": 3600, "m": 60, "s": 1}
FORM = re.compile(r"(?:(?P<h>\d+(?:\.\d+)?)h)?(?:(?P<m>\d+(?:\.\d+)?)m)?(?:(?P<s>\d+(?:\.\d+)?)s)?")


def parse_budget(text: str) -> float:
    """Returns the seconds, above 0, of a text such as '9h', '90m', '1h30m' or '45s'.

    Raises:
      UserError: the text has another form, or means no time.
    """
    found = FORM.fullmatch(text.strip().lower())
    parts = {unit: float(number) for unit, number in found.groupdict().items() if number} if found else {}
    seconds = sum(UNITS[unit] * number for unit, number in parts.items())
    if not seconds or not math.isfinite(seconds):
        raise UserError(
            f"--budget={text} is not a duration: write hours, minutes or seconds, such as 9h, 1h30m or 45s."
        )
    return seconds


def write_budget(seconds: float) -> str:
    """Returns the shortest text of whole minutes that `parse_budget` reads, for at least these seconds."""
    hours, minutes = divmod(max(1, math.ceil(seconds / 60)), 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if minutes or not hours else "")


def in_minutes(seconds: float) -> str:
    """Returns minutes with one decimal below ten, such as '3.4' or '128'."""
    minutes = seconds / 60
    return f"{minutes:.1f}" if minutes < 9.95 else f"{minutes:,.0f}"
