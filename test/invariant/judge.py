"""Holds what the client got and what the origins saw against each other, and both against the reference."""
import re

from reference import MARKER, marker_of


def shortened(data):
    data = re.sub(rb"(.)\1{60,}", lambda run: run[1] * 3 + b"{%d}" % len(run[0]), data, flags=re.S)
    return data[:2000]


def describe_http1(session, records):
    answers = ["%d:%s" % (at, answer) for at, answer in enumerate(session.answers)]
    seen = ["%s %s %d %s" % (record.method, record.target[:100], record.status, record.body) for record in records]
    wanted = ["%s %s %s" % (request.method, request.marker, request.body_text) for request in session.requests]
    return "meant %s (%s)\n    answered %s\n    seen %s" % (wanted, session.verdict, answers, seen)


def marker_in(record):
    found = MARKER.findall(record.target)
    return found[0] if len(found) == 1 else marker_of(record.target.encode("latin-1"))


class Judge:
    """For the connections of all protocols that went to one origin. `faults`: (the session or None, what is wrong)."""

    def __init__(self, sessions, records):
        self.faults = []
        owners = {marker: session for session in sessions for marker in session.case.markers}
        owners.update({request.marker: session for session in sessions for request in session.requests + [session.begun]
                       if request and request.marker})
        ids = {answer.request_id: session for session in sessions for answer in session.answers if answer.request_id}
        # What carries no marker any more: at most as many as there are refusals by the origin, and requests that were cut off.
        nameless = -sum(1 for session in sessions for answer in session.answers if answer.status >= 400 and not answer.is_edges)
        nameless -= sum(1 for session in sessions if session.begun and not session.begun.marker)
        self.seen = {id(session): [] for session in sessions}
        for record in records:
            marker = marker_in(record)
            session = owners.get(marker) or ids.get(record.request_id)
            if session:
                self.seen[id(session)].append(record)
            elif not marker and record.status >= 400:
                nameless += 1
            elif record.target != "/first":
                self.faults.append((None, "nobody sent this: %s %r %d" % (record.method, record.target, record.status)))
        if nameless > 0:
            self.faults.append((None, "%d requests that the origin could not read, and nobody has the answer" % nameless))
        for session in sessions:
            seen = self.seen[id(session)]
            fault = session.trouble or session.fault_of(seen)
            if fault:
                self.faults.append((session, "case %d: %s\n    sent %r\n    %s" % (
                    session.case.number, fault, shortened(session.case.bytes), session.describe(seen))))

    def counts(self, sessions):
        """Of these: (requests the origin saw whole, of these in streams with something strange, refusals by the edge)"""
        whole = [(session, record) for session in sessions for record in self.seen[id(session)] if record.is_whole]
        strange = [1 for session, _ in whole if not session.case.is_plain]
        return len(whole), len(strange), sum(session.refusals for session in sessions)


def fault_of_http1(session, records):
    requests, answers = session.requests, session.answers
    meant = {request.marker: (at, request) for at, request in enumerate(requests) if request.marker}
    begun = {session.begun.marker} if session.begun else set()
    whole = {}
    for record in records:
        marker = marker_in(record)
        if marker and marker not in meant and marker not in begun:
            return "the origin saw what was no request: %s %s" % (record.method, record.target)
        if not record.is_whole:
            continue
        if marker in begun and marker not in meant:
            return "the origin saw the whole of a request that was not: %s" % record.target
        if marker in whole:
            return "the origin saw %s twice" % record.target
        whole[marker] = record
        if marker:
            request = meant[marker][1]
            if record.method != request.method:
                return "%s became %s" % (request.method, record.method)
            if record.body not in ("-", request.body_text):
                return "the body of %s is another: %s" % (marker, record.body)
    return fault_of_answers(session, whole) or fault_of_order(requests, answers, whole)


def fault_of_answers(session, whole):
    requests, answers = session.requests, session.answers
    for at, answer in enumerate(answers):
        if at >= len(requests):
            is_refusal = answer.is_last if answer.is_edges else session.begun  # an origin may answer before it has read the body
            if at > len(requests) or answer.status < 400 or not is_refusal:
                return "answer %d to nothing: %s" % (at, answer)
            continue
        request = requests[at]
        if answer.is_edges:
            if request.marker in whole:
                return "the edge answered %d, the origin saw the request" % answer.status
            if answer.status in (500, 502, 503, 504):
                return "answer %d is %d" % (at, answer.status)
            if session.case.is_plain:
                return "a plain request was answered %d by the edge" % answer.status
        elif answer.has_seen and answer.marker != request.marker:
            return "answer %d belongs to another request: %s" % (at, answer)
        if answer.is_last and at + 1 < len(answers):
            return "an answer after the last one"
    if session.verdict == "invalid" and len(answers) == len(requests) and not (answers and answers[-1].is_last) \
            and not session.is_tunnel and not session.begun:
        return "refused without an answer"
    return None


def fault_of_order(requests, answers, whole):
    """Every whole request has its one answer, and it is that one."""
    answered = {request.marker: answer for request, answer in zip(requests, answers) if answer.has_seen}
    for marker, record in whole.items():
        answer = answered.get(marker)
        if not answer:
            return "the origin saw %s, the client has no answer to it" % record.target
        if record.request_id and answer.request_id and record.request_id != answer.request_id:
            return "the answer to %s is one to another request" % record.target
    for marker, answer in answered.items():
        if marker not in whole and (200 <= answer.status < 300 or answer.status == 101):
            return "an answer to %s that the origin never saw whole" % marker
    return None
