"""Runs rows against a subject, several beside each other, and says for each whether it holds."""
import dataclasses
import queue
import threading
import time

from case import FIN, RESET
from client import H1Client
from h2wire import H2Client
from origin import Origin
from tables import ROWS


class Result:
    def __init__(self, row, failures, seconds):
        self.row, self.failures, self.seconds = row, failures, seconds

    @property
    def is_unmet(self):
        """Nobody was there, or went away: perhaps it died of another row."""
        return any(w in self.story for w in ("no connection", "no final response", "state end", "state reset", "is reset",
                                             "is end", "no response"))

    @property
    def is_ok(self):
        return not self.failures

    @property
    def story(self):
        return "; or: ".join(self.failures)


def judge(row, seen):
    """[] when one alternative holds, else what is wrong with each."""
    wrong = []
    if row.lint:
        for request in seen.requests:
            fault = request.lint()
            if fault:
                return ["what reached the origin is not sound: " + fault]
        for message in list(seen.interims) + list(seen.finals):
            fault = message.lint()
            if fault:
                return ["what reached the client is not sound: " + fault]
        if seen.h2 and seen.h2.fault:
            return ["what reached the client is not sound: " + seen.h2.fault]
    for checks in row.alternatives:
        fault = next((f for f in (look(check, seen) for check in checks) if f), None)
        if not fault:
            return []
        wrong.append(fault)
    return list(dict.fromkeys(wrong))


def look(check, seen):
    try:
        return check(seen)
    except (AttributeError, IndexError, KeyError):  # what it looks for is not there at all
        return "what the check looks at is not there"


def run_row(row, subject, lane, origin):
    started, is_quiet = time.monotonic(), True
    origin.begin(row.answers)
    try:
        if row.protocol == "h2":
            client = H2Client(subject.address(lane, "h2"), origin, row, subject.wait_s, subject.h2 == "tls")
        else:
            client = H1Client(subject.address(lane, row.protocol), origin, row, subject.wait_s, row.protocol == "h1s")
        seen = client.run()
        if seen.state != "open" and origin.connections:
            time.sleep(0.02)  # what is still on its way to the origin is seen too
        seen.connections, seen.requests = origin.seen()
        failures = judge(row, seen)
        is_quiet = seen.state == "open" or (row.protocol != "h2" and not seen.connections)
    except OSError as error:
        failures = ["no connection: %s" % error]
    origin.finish(is_quiet)
    return Result(row, failures, time.monotonic() - started)


def run_rows(rows, make_subject, lane_count=8, on_result=None, stop_at_death=False):
    """make_subject(origin ports) starts the subject. Returns the results in the order of the rows."""
    origins = [Origin() for _ in range(lane_count)]
    subject = make_subject([origin.port for origin in origins])
    left, done, telling = queue.Queue(), {}, threading.Lock()
    for number, row in enumerate(rows):
        left.put((number, row))

    def work(lane):
        while True:
            try:
                number, row = left.get_nowait()
            except queue.Empty:
                return
            if row.protocol == "h2" and subject.h2 is None:
                continue
            done[number] = run_row(row, subject, lane, origins[lane])
            if stop_at_death and subject.has_died():
                done[number].failures = ["the proxy died"]
                return
            if on_result:
                with telling:
                    on_result(done[number])

    try:
        threads = [threading.Thread(target=work, args=(lane,)) for lane in range(lane_count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        for origin in origins:
            origin.stop()
        subject.stop()
    return [done[number] for number in sorted(done)]


def over_tls(rows):
    """The rows of HTTP/1.1 once more, over TLS; there is no half of a connection to close or reset there."""
    return [dataclasses.replace(row, area=row.area + " over TLS", protocol="h1s") for row in rows
            if row.protocol == "h1" and FIN not in row.send and RESET not in row.send]


def choose(words):
    """Rows whose area or name has one of the words; all when there are none."""
    if not words:
        return list(ROWS)
    return [row for row in ROWS if any(word in row.area + "/" + row.name for word in words)]
