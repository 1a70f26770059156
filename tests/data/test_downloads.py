"""Whoever does not answer is given up, told of in one line, and not asked again."""

import hashlib
import re
import socket
import sys
import threading
import time
from contextlib import contextmanager, suppress

import pytest

from xpnet.data import downloads

pytest.importorskip("pooch", reason="pooch is not installed")

NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE")
BODY = bytes(range(256)) * 64
SUM = hashlib.sha256(BODY).hexdigest()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY)


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No proxy but the test's own, nothing remembered, little patience."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setattr(downloads, "PATIENCE", 0.3)
    monkeypatch.setattr(downloads, "_silent", set())


@contextmanager
def listening(talk):
    """A server that does no more than `talk` with each connection; how many there were."""
    end, calls = threading.Event(), []

    def serve():
        while not end.is_set():
            with suppress(OSError):
                connection, _ = listener.accept()
                calls.append(connection)
                threading.Thread(target=quietly, args=(connection,), daemon=True).start()

    def quietly(connection):
        with suppress(OSError):
            talk(connection, end)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1], calls
        finally:
            end.set()
            thread.join()
            for connection in calls:
                connection.close()


def silent(connection, end):
    end.wait()


def dripping(connection, end):
    while not end.wait(0.02):
        connection.send(b"H")


def stalling(connection, end):
    connection.recv(1000)
    connection.send(HEAD + BODY[:5000])
    end.wait()


def trickling(connection, end):
    connection.recv(1000)
    connection.send(HEAD)
    for byte in BODY:
        if end.wait(0.02):
            break
        connection.send(bytes([byte]))


def whole(connection, end):
    connection.recv(1000)
    connection.send(HEAD + BODY)


def slow(connection, end):
    """Slower as a whole than the patience, but never silent for so long."""
    connection.recv(1000)
    connection.send(HEAD)
    for at in range(0, len(BODY), 4096):
        end.wait(0.7)
        connection.send(BODY[at : at + 4096])


@pytest.mark.parametrize("talk", [silent, dripping, stalling, trickling])
def test_a_server_that_gives_nothing_is_given_up_and_remembered(talk):
    with listening(talk) as (port, calls):
        url = f"http://127.0.0.1:{port}/"
        want = "127.0.0.1: no answer for 0.3 s, and not asked again by this process"
        assert downloads.fetch(url, SUM) == downloads.fetch(url, SUM) == (None, want)
        assert len(calls) == 1


@pytest.mark.slow
def test_a_server_that_is_slow_is_waited_for(monkeypatch):
    monkeypatch.setattr(downloads, "PATIENCE", 2.0)
    with listening(slow) as (port, _):
        assert downloads.fetch(f"http://127.0.0.1:{port}/", SUM) == (BODY, "")


@pytest.mark.parametrize("talk", [silent, dripping])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_gives_nothing_is_asked_once_for_all_servers(monkeypatch, talk, scheme):
    with listening(talk) as (port, calls):
        monkeypatch.setenv(f"{scheme}_proxy", f"http://me:secret@127.0.0.1:{port}")
        reasons = [downloads.fetch(f"{scheme}://{host}.invalid/", SUM)[1] for host in "ab"]
        assert len(calls) == 1
    want = f"the proxy 127.0.0.1:{port}: no answer for 0.3 s, and not asked again by this process"
    assert reasons == [want, want]


def test_an_address_that_is_never_found_is_given_up(monkeypatch):
    """A search for an address can be neither timed nor stopped."""
    end = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: end.wait())
    try:
        reason = downloads.fetch("http://a.invalid/", SUM)[1]
        assert reason.startswith("a.invalid: no answer for 0.3 s, ")
    finally:
        end.set()


def test_a_file_without_end_is_not_kept(monkeypatch):
    monkeypatch.setattr(downloads, "PATIENCE", 10.0)
    monkeypatch.setattr(downloads, "LIMIT", len(BODY) - 1)
    with listening(whole) as (port, _):
        contents, reason = downloads.fetch(f"http://127.0.0.1:{port}/", SUM)
    assert (contents, reason) == (None, f"127.0.0.1: OSError: more than {len(BODY) - 1} bytes came")


def test_a_cause_is_one_short_line(monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such.pem")
    assert downloads.fetch("https://127.0.0.1:1/", SUM)[1] == (
        "127.0.0.1: OSError: Could not find a suitable TLS CA certificate bundle, "
        "invalid path: /no/such.pem"
    )
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/a\n" * 300)
    reason = downloads.fetch("https://127.0.0.1:1/", SUM)[1]
    assert "\n" not in reason
    assert len(reason) < 300


def test_an_address_that_is_not_found_is_told_without_what_wraps_it(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    reason = downloads.fetch("https://a.invalid/", SUM)[1]
    assert reason == "a.invalid: ConnectionError: Name or service not known"


@pytest.mark.parametrize("proxy", ["http://[bad", "nonsense", "socks9://127.0.0.1:1"])
def test_a_proxy_that_is_none_is_a_reason(monkeypatch, proxy):
    monkeypatch.setenv("http_proxy", proxy)
    contents, reason = downloads.fetch("http://a.invalid/", SUM)
    assert contents is None
    assert re.fullmatch(r"(a\.invalid|the proxy .*): .+", reason)


@pytest.mark.slow
def test_ten_seconds_as_users_have_them(monkeypatch):
    monkeypatch.setattr(downloads, "PATIENCE", 10.0)
    with listening(silent) as (port, _):
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        begin = time.monotonic()
        reason = downloads.fetch("https://a.invalid/", SUM)[1]
        assert time.monotonic() - begin >= 9.9
    assert reason.startswith(f"the proxy 127.0.0.1:{port}: no answer for 10 s, ")


def test_nothing_is_shown_where_nobody_looks(monkeypatch, capsys):
    monkeypatch.setattr(downloads, "PATIENCE", 10.0)
    with listening(whole) as (port, _):
        assert downloads.fetch(f"http://127.0.0.1:{port}/", SUM) == (BODY, "")
        assert capsys.readouterr().err == ""
        monkeypatch.setattr(sys, "stderr", None)
        assert downloads.fetch(f"http://127.0.0.1:{port}/", SUM) == (BODY, "")
