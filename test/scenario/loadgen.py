"""Starts a generator of load beside a test and reads its report."""
import json
import os
import signal
import subprocess
import sys


class Generator:
    """A script of this folder that says "ready", and tells what happened when it is asked to end."""

    def __init__(self, script, *arguments, environment=None):
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(os.path.dirname(__file__), script), *map(str, arguments)],
            stdout=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})})
        assert self.process.stdout.readline() == "ready\n"

    def finish(self, timeout=60):
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=timeout)
        return json.loads(out)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Load(Generator):
    """Requests of every kind by a few clients."""

    def __init__(self, platform, host="app.test", clients=2, pause=0.01):
        super().__init__("load.py", platform.port, host,
                         environment={"LOAD_CLIENTS": str(clients), "LOAD_PAUSE": str(pause)})


class Crowd(Generator):
    """WebSockets that stay, and requests at a rate, in the clear and over TLS."""

    def __init__(self, platform, sockets, rate):
        super().__init__("crowd.py", "app.test", platform.port, platform.https_port, sockets, rate)


def make_ledger(platform):
    """Where the application notes each POST that it got; see assert_lossless."""
    path = os.path.join(platform.base, "ledger")
    with open(path, "w"):
        pass
    os.chmod(path, 0o666)
    return path


def assert_lossless(report, ledger=None):
    assert report["failed"] == 0, f"{report['failed']} failures: {report['failures'][:10]}"
    assert report["requests"] > 0 and report["websockets"] > 0
    assert set(report["closes"]) <= {"1001"}, report["closes"]
    if ledger is not None:
        with open(ledger) as file:
            seen = file.read().split()
        assert len(seen) == len(set(seen)), "a POST arrived twice"
        assert set(seen) == set(report["posted"]), "a POST is missing"
