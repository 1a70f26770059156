"""The URL of a search's database: what connects there, and how it is told without its password."""

from contextlib import suppress

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from xpnet.errors import OutputError
from xpnet.optional import installed, missing

EXAMPLES = "sqlite:///study.db or postgresql://USER@HOST/NAME"
HIDDEN = "***"


def connectable(storage: str) -> str:
    """Complete the URL of a database by the driver, where it names none.

    Of PostgreSQL's it is psycopg 3, or else psycopg2.

    Raises
    ------
    OutputError
        It is not the URL of a database that keeps what it is given, or the driver is not installed.
    """
    kind, mark, rest = storage.partition("://")
    if kind == "postgres":  # as hosts of databases write it
        storage = f"postgresql{mark}{rest}"
    try:
        url = make_url(storage)
    except (SQLAlchemyError, ValueError):
        url = None
    if url is None or "@" in (url.host or ""):  # the rest of a password, perhaps: not shown
        raise OutputError(
            "the storage that was given cannot be used: Could not parse it as the URL of a "
            f"database; write it like {EXAMPLES}, and in a name or a password @ as %40, : as %3A "
            "and / as %2F"
        )
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise OutputError(
            f"the storage {redacted(storage)} cannot be used: it is in memory, and nothing would "
            "be kept; name a file, such as sqlite:///study.db"
        )
    if url.drivername == "postgresql":
        driver = "psycopg" if installed("psycopg") or not installed("psycopg2") else "psycopg2"
        url = url.set(drivername=f"postgresql+{driver}")
    if url.drivername == "postgresql+psycopg" and not installed("psycopg"):
        raise OutputError(f"the storage {redacted(storage)} cannot be used: {missing('psycopg')}")
    return url.render_as_string(hide_password=False)


def redacted(storage: str) -> str:
    """Write a URL without its password."""
    try:
        url = make_url(storage)
    except (SQLAlchemyError, ValueError):
        return "that was given"
    secret = {name: HIDDEN for name in url.query if "pass" in name.lower()}
    return url.update_query_dict(secret).render_as_string(hide_password=True)


def without_password(text: str, storage: str | None) -> str:
    """Hide the password of a URL, if it has one, in a text that has the URL."""
    hidden = "" if storage is None else redacted(storage)
    return text.replace(str(storage), hidden) if HIDDEN in hidden else text


def told(error: BaseException, storage: str) -> str:
    """Tell an error of a database in one line, without the password."""
    cause = error.__cause__ if _hides(error) else error
    if isinstance(cause, ImportError):
        cause = cause.__cause__ or cause  # which names the driver
    text = str(getattr(cause, "orig", None) or cause).strip().split("\n")[0].rstrip(".")
    with suppress(SQLAlchemyError, ValueError):
        url = make_url(storage)
        for secret in _secrets(url):
            text = text.replace(secret, HIDDEN)
    return text


def _hides(error: BaseException) -> bool:
    """Whether an error of Optuna says less than its cause."""
    return type(error).__name__ == "StorageInternalError" and error.__cause__ is not None


def _secrets(url: URL) -> list[str]:
    """The passwords in a URL."""
    values = [value for name, value in url.query.items() if "pass" in name.lower()]
    return [str(value) for value in (url.password, *values) if value]
