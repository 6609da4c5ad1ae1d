"""The exception that a command prints as one sentence, without a traceback."""

import re

# How a framework shows an error from a function that it called: class name, text, then its own traceback.
_SHOWN = re.compile(r"\b(?:UserError|DamagedShardError): ([^\n]+)")


class UserError(Exception):
    """An error that the user can fix: the message says in one sentence what was found, where, and what to do."""


class DamagedShardError(UserError):
    """A shard does not contain what its data set says; the message names the shard."""


class Preempted(BaseException):
    """The machine is being preempted (SIGTERM) and everything is saved: one sentence, exit code 75.

    Like KeyboardInterrupt, it is not an Exception, so that no handler on its way mistakes it for a failure.
    """


def sentence_in(error: BaseException) -> str | None:
    """Returns the sentence of a UserError, even if a framework wrapped it in an error of its own; otherwise None."""
    if isinstance(error, UserError):
        return str(error)
    shown = _SHOWN.search(str(error))
    return shown.group(1) if shown else None
