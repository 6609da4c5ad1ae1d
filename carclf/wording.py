"""Words of messages that depend on a number."""


def counted(number: int, one: str, many: str = "") -> str:
    """Returns '1 photo is kept' or '2,000 photos are kept'.

    Args:
      number: how many there are.
      one: what follows a 1, such as 'photo is kept'.
      many: what follows any other number; "" adds an s to `one`.
    """
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
