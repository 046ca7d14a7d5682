"""Expect: 100-continue, and other interim responses: RFC 9110 §10.1.1, §15.2."""
from case import (CLOSE, OK, Answers, Pause, Until, area, body, chunked, closed, early, forwarded, get, in_sync,
                  interims, interims_among, no_answer, opened, origin_body, post, raw_has, raw_lacks, reached_times,
                  refused, rejected, reply, row, status, unfinished, untouched)

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
EXPECT3 = "Expect: 100-continue\r\nContent-Length: 3\r\n"
AFTER = early(CONTINUE, Until(b"\r\n\r\nabc"), OK)


def a_continue(seen):
    codes = [m.status for m in seen.interims]
    if 100 not in codes:
        return "interim responses %s" % codes


ROWS = area("expect", "h1", [
    row("100 comes before the body is sent", "9110 §10.1.1", (post(EXPECT3), Until(b"\r\n\r\n"), b"abc"),
        forwarded(a_continue, origin_body(b"abc")), answer=AFTER),
    row("the body comes without waiting", "9110 §10.1.1", post(EXPECT3, b"abc"), forwarded(origin_body(b"abc"),
        interims_among(100))),
    row("a refusal instead of 100", "9110 §10.1.1", post(EXPECT3), [status(413), interims(), unfinished],
        answer=early(reply("Content-Length: 2\r\n", b"no", "413 Too Large")), probe=False, lint=False),
    row("a refusal, and what follows is body or nothing", "9112 §9.3", (post(EXPECT3), Answers(1), b"abc"),
        [status(413), in_sync, reached_times(1, 1)], answer=early(reply("Content-Length: 2\r\n", b"no",
        "413 Too Large")), probe=False, lint=False),
    row("100 of a client in HTTP/1.0 is not expected", "9110 §10.1.1", post(EXPECT3, b"abc", version="1.0"),
        [status(200), interims(), raw_lacks(b" 100 "), origin_body(b"abc")]),
    row("Expect without a body", "9110 §10.1.1 (MUST NOT generate)", get("Expect: 100-continue\r\n"),
        forwarded(interims_among(100)), *rejected(400, 417), answer=OK),
    row("an expectation in any case", "9110 §10.1.1", (post("Expect: 100-CONTINUE\r\nContent-Length: 3\r\n"),
        Until(b"\r\n\r\n"), b"abc"), forwarded(origin_body(b"abc"), a_continue), answer=AFTER),
    row("an unknown expectation", "9110 §10.1.1", post("Expect: tea\r\nContent-Length: 1\r\n", b"a"), [status(417),
        in_sync, untouched], forwarded(origin_body(b"a")), *refused(400)),
    row("an origin that never says 100", "9110 §10.1.1", (post(EXPECT3), Pause(0.2), b"abc"),
        forwarded(origin_body(b"abc"), interims_among(100))),
    row("a chunked body behind 100", "9110 §10.1.1", (chunked(b"", "Expect: 100-continue\r\n"), Until(b"\r\n\r\n"),
        b"3\r\nabc\r\n0\r\n\r\n"), forwarded(origin_body(b"abc"), a_continue), answer=early(CONTINUE,
        Until(b"0\r\n\r\n"), OK)),
    row("100 without being asked is relayed or dropped", "9110 §15.2.1", get(), [status(200), interims_among(100),
        opened], answer=CONTINUE + OK),
    row("103 is relayed", "8297 §2, 9110 §15.2", get(), [status(200), interims(103), opened,
        raw_has(b"</a.css>; rel=preload")], answer=HINTS + OK),
    row("103 comes before the rest is there", "8297 §2", (get(), Until(b"103 Early Hints")), [status(200),
        interims(103)], answer=(HINTS, Pause(0.2), OK)),
    row("several 103 are relayed", "9110 §15.2", get(), [status(200), interims(103, 103), opened],
        answer=HINTS + HINTS + OK),
    row("102 is relayed", "9110 §15.2", get(), [status(200), interims(102), opened],
        answer=b"HTTP/1.1 102 Processing\r\n\r\n" + OK),
    row("an unknown 1xx is relayed", "9110 §15.2", get(), [status(200), interims(199), opened],
        answer=b"HTTP/1.1 199 What\r\n\r\n" + OK),
    row("no 1xx to HTTP/1.0", "9110 §15.2", get(version="1.0"), [status(200), interims(), raw_lacks(b" 103 ")],
        answer=HINTS + OK),
    row("no 1xx to HTTP/1.0 that keeps alive", "9110 §15.2", get("Connection: keep-alive\r\n", version="1.0"),
        [status(200), interims()], answer=HINTS + OK),
    row("a 1xx with a length has no body", "9110 §6.4.1", get(), [status(200), interims_among(103), body(b"ok"),
        opened], answer=b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n" + OK),
    row("a 1xx with a coding has no body", "9112 §6.1", get(), [status(200), interims_among(103), body(b"ok"), opened],
        [status(502), in_sync], answer=b"HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n" + OK),
    row("fields that Connection names are dropped in a 1xx", "9110 §7.6.1", get(), [status(200),
        raw_lacks(b"x-hop: 1")], answer=b"HTTP/1.1 103 Early Hints\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n" + OK),
    row("an interim response alone is no answer", "9110 §15.2", get(), [status(500, 502, 503, 504), in_sync],
        [no_answer, closed], answer=(HINTS, CLOSE)),
    row("a thousand interim responses are bounded or relayed", "9110 §15.2", get(), [status(200), in_sync],
        [status(502), in_sync], [no_answer, closed], answer=HINTS * 1000 + OK),
    row("a HEAD behind 103", "9110 §9.3.2", get(method="HEAD"), [status(200), interims(103), opened],
        answer=HINTS + reply("Content-Length: 9\r\n")),
])
