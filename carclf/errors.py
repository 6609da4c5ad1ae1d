"""The exception that a command prints as one sentence, without a traceback."""

import re

# How a framework shows an error that was raised in a function it called: class name, text, then its own traceback.
_SHOWN = re.compile(r"\b(?:UserError|DamagedShardError): ([^\n]+)")


class UserError(Exception):
    """Something the user can put right: the message says what was found, where, and what to do, in one sentence."""


class DamagedShardError(UserError):
    """A shard does not hold what its data set says; the message names it."""


class Preempted(BaseException):
    """The machine is being taken away (SIGTERM) and everything is saved: one sentence, exit code 75.

    Like KeyboardInterrupt it is no Exception, so that nothing on its way mistakes it for a failure of its own.
    """


def sentence_in(error: BaseException) -> str | None:
    """The sentence of a UserError, also of one that a framework has wrapped in an error of its own; or None."""
    if isinstance(error, UserError):
        return str(error)
    shown = _SHOWN.search(str(error))
    return shown.group(1) if shown else None
