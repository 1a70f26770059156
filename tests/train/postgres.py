"""A PostgreSQL server of one's own: a system's, or that of the wheel `pgserver`."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

PASSWORD = "p@ss/w:rd"
USER = "nobody"
"""Who runs it where the tests are root's, as whom it refuses to run."""


def missing():
    """Say why no server can be run here; None if one can."""
    if not hasattr(os, "fork"):
        return "a PostgreSQL server is stopped by signals, which this system has not"
    if find_spec("psycopg") is None:
        return "PostgreSQL: psycopg is not installed"
    if programs() is None:
        return (
            "PostgreSQL: there is neither a system's initdb nor the package pgserver, whose wheels "
            "end with Python 3.12"
        )
    return None


def programs():
    """The directory of initdb and postgres."""
    places = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if (wheel := find_spec("pgserver")) is not None:
        places.append(Path(wheel.origin).parent / "pginstall" / "bin")
    return next((place for place in places if (place / "initdb").exists()), None)


def children(pid):
    """The processes that a process has started, the newest last."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True)
    pairs = [tuple(map(int, line.split())) for line in listed.stdout.splitlines()]
    return sorted(child for child, parent in pairs if parent == pid)


class Server:
    """A server that can be stopped and ended."""

    def __init__(self):
        self.directory = Path(tempfile.mkdtemp(prefix="xpnet-postgres-"))
        self.how = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        if os.geteuid() == 0:
            self.how |= {"user": USER, "cwd": "/"}
            shutil.chown(self.directory, USER)
        self.data = self.directory / "data"
        secret = self.directory / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        method = ["--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync"]
        command = [programs() / "initdb", "-D", self.data, "-U", "me", "-E", "UTF8", *method]
        subprocess.run([*command, "--locale=C"], check=True, timeout=120, **self.how)
        self.process = None
        self.start()

    @property
    def url(self):
        quoted = PASSWORD.replace("@", "%40").replace("/", "%2F").replace(":", "%3A")
        return f"postgresql://me:{quoted}@127.0.0.1:{self.port}/postgres"

    def start(self):
        options = {"port": self.port, "listen_addresses": "127.0.0.1", "fsync": "off"}
        options |= {"unix_socket_directories": ""}
        settings = [f"--{name}={value}" for name, value in options.items()]
        self.process = subprocess.Popen(
            [programs() / "postgres", "-D", self.data, *settings], **self.how
        )
        self.wait()

    def wait(self):
        """Wait until it lets somebody in."""
        import psycopg

        give_up = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=5).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.1)

    def signal(self, number):
        """Send a signal to it and to all that it has started."""
        for pid in [self.process.pid, *children(self.process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self):
        """Have it answer nobody."""
        self.signal(signal.SIGSTOP)

    def go_on(self):
        self.signal(signal.SIGCONT)

    def end(self):
        """End it at once, as a loss of power would."""
        self.signal(signal.SIGCONT)
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(timeout=60)

    def remove(self):
        if self.process.poll() is None:
            self.end()
        shutil.rmtree(self.directory, ignore_errors=True)
