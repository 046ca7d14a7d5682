"""Starts load.py beside a test and reads its report."""
import json
import os
import signal
import subprocess
import sys


class Load:
    def __init__(self, platform, host="app.test", clients=2, pause=0.01):
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(os.path.dirname(__file__), "load.py"), str(platform.port), host],
            stdout=subprocess.PIPE, text=True,
            env={**os.environ, "LOAD_CLIENTS": str(clients), "LOAD_PAUSE": str(pause)})
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


def assert_lossless(report, ledger=None):
    assert report["failed"] == 0, f"{report['failed']} failures: {report['failures'][:10]}"
    assert report["requests"] > 0 and report["websockets"] > 0
    assert set(report["closes"]) <= {"1001"}, report["closes"]
    if ledger is not None:
        with open(ledger) as file:
            seen = file.read().split()
        assert len(seen) == len(set(seen)), "a POST arrived twice"
        assert set(seen) == set(report["posted"]), "a POST is missing"
