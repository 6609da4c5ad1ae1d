"""Words of messages that depend on a number."""

from collections.abc import Sequence


def counted(number: int, one: str, many: str = "") -> str:
    """Returns '1 photo is kept' or '2,000 photos are kept'.

    Args:
      number: how many there are.
      one: what follows a 1, such as 'photo is kept'.
      many: what follows any other number; "" adds an s to `one`.
    """
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def first_of(names: Sequence[str], *, most: int = 5) -> str:
    """Returns the first names separated by commas, with … if there are more than `most`."""
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
