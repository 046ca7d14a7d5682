#!/usr/bin/env python3
"""The invariant, fuzzed: what an origin sees is exactly what is answered, and nothing of a refused message gets there.

    test_invariant.py HARNESS [--seconds S] [--seed TEXT] [--origin NAME,...] [--case N] [--protocol http1,http2]

Streams composed of sound and strange requests (generate.py, http2.py) go through the edge role to five real origins (origins.py);
judge.py holds the requests that each origin understood against the answers that the client got. Prints TAP. The same seed
sends the same streams; how many, is a matter of time (SLIPWAY_INVARIANT_SECONDS, SLIPWAY_INVARIANT_SEED).
"""
import argparse
import os
import sys
import tempfile
import threading
import time
import shutil

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "edge")]
import edge_world
import origins
import client
import http2
from judge import Judge

THREADS = 6
FAULTS_SHOWN = 5


class Run:
    """All streams of one protocol, to each origin in turn."""

    def __init__(self, protocol, play, edges, seed):
        self.protocol, self.play, self.edges, self.seed = protocol, play, edges, seed
        self.sessions = {name: [] for name in edges}
        self.errors = []
        self.next = 0
        self.lock = threading.Lock()

    def one(self, number):
        for name, edge in self.edges.items():
            try:
                session = self.play(edge, self.seed, number, name)
            except OSError as error:
                session = None
                self.errors.append("case %d to %s: %r" % (number, name, error))
            if session:
                self.sessions[name].append(session)

    def work(self, deadline):
        while time.monotonic() < deadline and not self.errors:
            with self.lock:
                number, self.next = self.next, self.next + 1
            self.one(number)

    def for_seconds(self, seconds):
        deadline = time.monotonic() + seconds
        threads = [threading.Thread(target=self.work, args=(deadline,)) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


class Report:
    def __init__(self):
        self.count = self.failed = 0

    def line(self, is_good, text, notes=()):
        self.count += 1
        self.failed += not is_good
        for note in notes:
            for line in note.split("\n"):
                print("# " + line)
        print("%s %d - %s" % ("ok" if is_good else "not ok", self.count, text), flush=True)

    def skip(self, text, why):
        self.count += 1
        print("ok %d - %s # SKIP %s" % (self.count, text, why), flush=True)


def judge_origin(report, runs, name, records, minimum):
    judge = Judge([session for run in runs for session in run.sessions[name]], records)
    for run in runs:
        sessions = run.sessions[name]
        mine = {id(session) for session in sessions}
        faults = run.errors + [text for session, text in judge.faults if session is None or id(session) in mine]
        whole, strange, refused = judge.counts(sessions)
        if len(sessions) < minimum or (minimum and not (whole and refused)):
            faults.append("only %d connections, %d requests seen, %d refused" % (len(sessions), whole, refused))
        notes = ["%s, %s: %d connections, %d requests seen (%d beside strange ones), %d refused, %d faults" % (
            run.protocol, name, len(sessions), whole, strange, refused, len(faults))] + faults[:FAULTS_SHOWN]
        report.line(not faults, "%s: what %s saw is what was answered" % (run.protocol, name), notes)


def edge_settings():
    return {"header_timeout_ms": 5000, "body_idle_timeout_ms": 5000, "keepalive_timeout_ms": 5000, "connection_limit_per_client": 1000}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("harness")
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("SLIPWAY_INVARIANT_SECONDS", "20")))
    parser.add_argument("--seed", default=os.environ.get("SLIPWAY_INVARIANT_SEED", "slipway"))
    parser.add_argument("--origin", default=",".join(origins.KINDS))
    parser.add_argument("--case", type=int, help="only this one")
    parser.add_argument("--protocol", default="http1,http2")
    options = parser.parse_args()
    names = options.origin.split(",")
    protocols = options.protocol.split(",")
    report, absent = Report(), origins.missing(names)
    edge_world.HARNESS = os.path.abspath(options.harness)
    for name in absent:
        report.skip("what %s saw is what was answered" % name, "%s is not installed" % origins.PROGRAMS[name])
    names = [name for name in names if name not in absent]
    work = tempfile.mkdtemp(prefix="slipway-invariant-")
    os.chmod(work, 0o755)
    started, edges, runs = [], {}, []
    try:
        answerer = origins.Answerer(work, None)
        started.append(answerer)
        for name in names:
            started.append(origins.KINDS[name](work, answerer))
            edges[name] = edge_world.Edge("127.0.0.1:%d" % started[-1].port, settings=edge_settings(), tls="http2" in protocols)
        if "http1" in protocols:
            runs.append(Run("HTTP/1.1", client.Session, edges, options.seed))
        if "http2" in protocols and http2.hpack:
            runs.append(Run("HTTP/2", http2.Session, edges, options.seed))
        elif "http2" in protocols:
            report.skip("HTTP/2", "python3-hpack is not installed")
        for run in runs:
            if options.case is not None:
                run.one(options.case)
            else:
                run.for_seconds(options.seconds / len(runs))
        lives = [edge.process.poll() is None and edge.lines.empty() for edge in edges.values()]
        for edge in edges.values():
            edge.stop()
        edges.clear()
        report.line(all(lives), "the edges live, and end without a complaint of a sanitizer")
        for origin in started:
            origin.stop()
        for origin in started[1:]:
            judge_origin(report, runs, origin.name, origin.records(), 20 if options.case is None else 0)
    finally:
        for edge in edges.values():
            edge.process.kill()
            edge.process.wait()
        for origin in started:
            origin.stop()
        shutil.rmtree(work, ignore_errors=True)
    print("1..%d" % report.count)
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
