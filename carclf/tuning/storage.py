"""The database of a study: its errors as sentences, and the check of an SQLite file."""

import contextlib
import os
import re
import sqlite3
import urllib.parse

import sqlalchemy

from carclf.errors import UserError

LOCK_SECONDS = 60  # how long a process waits while another writes to SQLite


def sqlite_url(path: str) -> str:
    """Returns the URL of an SQLite file for `read_url`, whatever signs its path has."""
    return f"sqlite:///{urllib.parse.quote(path)}"


def read_url(storage: str) -> str:
    """Returns a URL that every SQLAlchemy from 2.0 on reads as 2.1 does, with %3F in the path of an SQLite file as a ?.

    Raises:
      UserError: it is no URL, or signs of it stand for others than was meant.
    """
    try:
        url = _parsed(storage)
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:  # a ValueError of the port
        raise unusable(storage, error) from None
    if "@" in (url.host or ""):
        raise UserError(
            f"The storage {shown_url(storage)} has an @ in its user name or password: write %40 in its place."
        )
    if not _is_sqlite_file(url) or "uri" in url.query:
        return storage
    options = storage.partition("?")[2]
    if "/" in options or not all("=" in option for option in options.split("&") if option):
        raise UserError(
            f"The storage {storage} has a ? in the path of its file, where it begins options: write %3F in its place."
        )
    decodes = _parsed("sqlite:///%25").database == "%"
    return storage if decodes or options or os.path.isfile(str(url.database)) else _undecoded(str(url.database))


def _undecoded(path: str) -> str:
    """Returns the URL of an SQLite file for an SQLAlchemy that decodes no paths: SQLite decodes those of file: URIs."""
    plain = urllib.parse.unquote(path)
    return f"sqlite:///file:{path}?uri=true" if "?" in plain else f"sqlite:///{plain}"


def _is_sqlite_file(url: sqlalchemy.URL) -> bool:
    return url.get_backend_name() == "sqlite" and bool(url.database) and url.database != ":memory:"


def _parsed(storage: str) -> sqlalchemy.URL:
    return sqlalchemy.engine.make_url(storage)


def shown_url(storage: str) -> str:
    """Returns the URL without its password, also where it is none that SQLAlchemy reads."""
    return re.sub(r"^((?:[\w+.-]+://)?[^:]*):.*@", r"\1:***@", storage)


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
    path = _sqlite_path(storage)
    if not os.path.isfile(path):
        return
    with contextlib.closing(sqlite3.connect(path, timeout=LOCK_SECONDS)) as connection:
        try:
            (answer, *_), *_ = connection.execute("PRAGMA integrity_check(1)").fetchall()
        except sqlite3.OperationalError:  # locked, or not to be opened: Optuna says so
            return
        except sqlite3.DatabaseError as error:
            raise damaged(storage, error) from None
    if answer != "ok":
        raise damaged(storage, answer)


def _sqlite_path(storage: str) -> str:
    """Returns the path of an SQLite file; "" for any other database."""
    url = _parsed(storage)
    path = str(url.database) if _is_sqlite_file(url) else ""
    return urllib.parse.unquote(path.removeprefix("file:")) if path.startswith("file:") else path
