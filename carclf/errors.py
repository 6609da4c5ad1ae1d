"""The one exception that a door turns into a sentence instead of a traceback."""


class UserError(Exception):
    """Something the user can put right: the message says what was found, where, and what to do, in one sentence."""


class Preempted(BaseException):
    """The machine is being taken away (SIGTERM) and everything is saved: one sentence, exit code 75.

    Like KeyboardInterrupt it is no Exception, so that nothing on its way mistakes it for a failure of its own.
    """
