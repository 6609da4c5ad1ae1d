"""The one exception that a door turns into a sentence instead of a traceback."""


class UserError(Exception):
    """Something the user can put right: the message says what was found, where, and what to do, in one sentence."""
