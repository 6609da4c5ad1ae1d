"""The database of a study: its errors as sentences, and the check of an SQLite file."""

import contextlib
import os
import sqlite3

import sqlalchemy

from carclf.errors import UserError

LOCK_SECONDS = 60  # how long a process waits while another writes to SQLite


def shown_url(storage: str) -> str:
    """Returns the URL without its password."""
    try:
        return sqlalchemy.engine.make_url(storage).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        return storage


def unusable(storage: str, error: Exception) -> UserError:
    """Returns the error for a storage that its driver cannot use."""
    cause = error.__cause__ if isinstance(error, ImportError) else getattr(error, "orig", None)  # of the driver
    reason = str(cause or error).strip().splitlines()[0]
    return UserError(
        f"The storage {shown_url(storage)} cannot be used ({reason}): give an SQLAlchemy URL such as "
        "sqlite:///study.db or postgresql://user@host/database, with its server running and its driver installed."
    )


def damaged(storage: str, error: object) -> UserError:
    """Returns the error for a storage that holds something else than a study."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return UserError(
        f"The storage {shown_url(storage)} is damaged ({reason}): restore a copy of it, or give another --storage to "
        "begin a new study."
    )


def check_sqlite(storage: str) -> None:
    """Checks every page of an SQLite file: a damaged one is otherwise noticed in the middle of the search, or never.

    Raises:
      UserError: it is damaged.
    """
    try:
        url = sqlalchemy.engine.make_url(storage)
    except sqlalchemy.exc.ArgumentError:
        return
    if url.get_backend_name() != "sqlite" or not url.database or not os.path.isfile(url.database):
        return
    with contextlib.closing(sqlite3.connect(url.database, timeout=LOCK_SECONDS)) as connection:
        try:
            (answer, *_), *_ = connection.execute("PRAGMA integrity_check(1)").fetchall()
        except sqlite3.OperationalError:  # locked, or not to be opened: Optuna says so
            return
        except sqlite3.DatabaseError as error:
            raise damaged(storage, error) from None
    if answer != "ok":
        raise damaged(storage, answer)
