"""Downloading a file within bounds: of time without an answer, and of size."""

import hashlib
import io
import sys
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

from xpnet.notice import on_terminal

PATIENCE = 10.0  # seconds in which nothing comes
LIMIT = 2**26  # bytes; MNIST's largest file has 10 million
CHUNK = 2**12  # bytes that must come in PATIENCE
LINE = 200  # characters of a reason

_silent: set[str] = set()
"""Proxies and servers that did not answer; in this process they are not asked again."""


class _Received(io.BytesIO):
    """What has come; nothing more is taken once it was given up."""

    given_up = False

    def write(self, data: Any, /) -> int:
        if self.given_up or self.tell() + len(data) > LIMIT:
            raise OSError(f"more than {LIMIT} bytes came")
        return super().write(data)


def fetch(url: str, sha256: str) -> tuple[bytes | None, str]:
    """Download a file of known contents.

    Whoever has not answered for 10 seconds, or sends less than 4 KiB in that time, is given up and
    not asked again by this process: a proxy, or without one the server. The connection is left to
    a thread of its own, since a search for an address can neither be timed nor be stopped.

    Returns
    -------
    the contents and "", or None and why there are none: one line, with the name of whom was asked
    """
    import pooch
    from requests.utils import get_environ_proxies, select_proxy

    server = urlsplit(url).hostname or url
    proxy = select_proxy(url, get_environ_proxies(url))
    # A password may stand before the name.
    asked = f"the proxy {proxy.rpartition('//')[2].rpartition('@')[2]}" if proxy else server
    silence = f"{asked}: no answer for {PATIENCE:g} s, and not asked again by this process"
    if asked in _silent:
        return None, silence
    received, errors = _Received(), list[Exception]()

    def download() -> None:
        downloader = pooch.HTTPDownloader(
            progressbar=on_terminal(sys.stderr),
            chunk_size=CHUNK,
            timeout=PATIENCE + 1,  # for what was given up to end soon
            # pooch leaves the connection of a refused request open.
            hooks={"response": lambda response, **_: None if response.ok else response.close()},
        )
        try:
            downloader(url, received, None)
        except Exception as error:
            errors.append(error)

    thread, before = Thread(target=download, daemon=True), -1
    thread.start()
    try:
        while thread.is_alive() and received.tell() > before:
            before = received.tell()
            thread.join(PATIENCE)
    finally:
        received.given_up = True
    if thread.is_alive():
        _silent.add(asked)
        return None, silence
    if errors:
        return None, f"{server}: {_cause(errors[0])}"
    contents = received.getvalue()
    if hashlib.sha256(contents).hexdigest() != sha256:
        return None, f"{server}: other contents, by SHA-256"
    return contents, ""


def _cause(error: BaseException) -> str:
    """The innermost cause of a network's error, which wraps it many times, in one short line."""
    inner: object = error
    while isinstance(inner, BaseException):
        cause = inner
        inner = getattr(cause, "reason", None) or next(iter(cause.args), None)
        inner = inner if isinstance(inner, BaseException) else cause.__cause__
    text = " ".join(str(getattr(cause, "strerror", None) or cause).split())
    text = text if len(text) <= LINE else f"{text[:LINE]}..."
    return f"{type(error).__name__}: {text}"
