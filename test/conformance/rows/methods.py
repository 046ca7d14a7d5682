"""Methods, and the fields that steer how far a request goes: RFC 9110 §7.6, §9."""
from case import (area, body, client_has, client_lacks, forwarded, get, in_sync, origin_has, origin_only,
                  origin_start, reached, rejected, reply, row, status, untouched)


def passes(method, fields="", payload=b""):
    return row("%s is passed on" % method, "9110 §9", get(fields, method=method) + payload, forwarded(origin_start("%s / HTTP/1\\.1" % method)),
               answer=reply("Content-Length: 0\r\n"))


ROWS = area("methods", "h1", [
    *[passes(m) for m in ("GET", "HEAD", "DELETE", "OPTIONS")],
    *[passes(m, "Content-Length: 1\r\n", b"a") for m in ("POST", "PUT", "PATCH")],
    row("an unknown method is passed on or 501", "9110 §9.1", get(method="BREW"),
        forwarded(origin_start("BREW / HTTP/1\\.1")), *rejected(405, 501)),
    row("methods are case-sensitive", "9110 §9.1", get(method="get"), forwarded(origin_start("get / HTTP/1\\.1")),
        *rejected(400, 405, 501)),
    row("a method of every token character", "9110 §5.6.2", get(method="A!#$%&'*+-.^_`|~"), forwarded(), *rejected(400,
        405, 501)),
    row("HEAD has no body in its answer", "9110 §9.3.2", get(method="HEAD"), [status(200), in_sync, lambda seen: None
        if seen.raw.endswith(b"\r\n\r\n") else "a body", reached("/")], answer=reply("Content-Length: 5\r\n")),
    row("HEAD stays HEAD", "9110 §9.3.2", get(method="HEAD"), forwarded(origin_start("HEAD / HTTP/1\\.1")),
        answer=reply("Content-Length: 5\r\n")),
    row("CONNECT to a gateway is refused", "9110 §9.3.6", b"CONNECT b.test:443 HTTP/1.1\r\nHost: b.test:443\r\n\r\n",
        *rejected(400, 403, 404, 405, 501)),
    row("CONNECT opens nothing behind it", "9110 §9.3.6",
        b"CONNECT b.test:443 HTTP/1.1\r\nHost: b.test:443\r\n\r\nGET /tunnel HTTP/1.1\r\nHost: b.test\r\n\r\n",
        [status(400, 403, 404, 405, 501), in_sync, lambda seen: None if not [r for r in seen.requests
        if r.method == "CONNECT"] else "CONNECT at the origin"], methods=("CONNECT", "GET"), finals=1, probe=False),
    row("TRACE carries no secrets through", "9110 §9.3.8", get(method="TRACE"), forwarded(), *rejected(403, 405, 501)),
    row("Max-Forwards: 0 ends an OPTIONS here", "9110 §7.6.2", get("Max-Forwards: 0\r\n", method="OPTIONS"),
        [status(200, 204, 405, 501), in_sync, untouched]),
    row("Max-Forwards: 0 ends a TRACE here", "9110 §7.6.2", get("Max-Forwards: 0\r\n", method="TRACE"), [status(200,
        403, 405, 501), in_sync, untouched]),
    row("Max-Forwards is counted down for OPTIONS", "9110 §7.6.2", get("Max-Forwards: 3\r\n", method="OPTIONS"),
        forwarded(origin_only("max-forwards", "2")), [status(405, 501), in_sync, untouched]),
    row("Max-Forwards is counted down for TRACE", "9110 §7.6.2", get("Max-Forwards: 3\r\n", method="TRACE"),
        forwarded(origin_only("max-forwards", "2")), *rejected(403, 405, 501)),
    row("Max-Forwards means nothing to a GET", "9110 §7.6.2", get("Max-Forwards: 0\r\n"), forwarded(reached("/"))),
    row("Via is added to a request", "9110 §7.6.3", get(), forwarded(origin_has("via", r"(HTTP/)?1\.1 \S+.*"))),
    row("Via names the version that came", "9110 §7.6.3", get(version="1.0"), [status(200), origin_has("via",
        r"(HTTP/)?1\.0 \S+.*")]),
    row("Via keeps who was there before, in order", "9110 §7.6.3", get("Via: 1.0 first, 1.1 second\r\n"),
        forwarded(lambda seen: None if [v.strip()
        for v in ",".join(seen.requests[0].all("via")).split(",")][:2] == ["1.0 first",
        "1.1 second"] and len(",".join(seen.requests[0].all("via")).split(",")) == 3
        else "Via: %s" % seen.requests[0].all("via"))),
    row("a loop does not go round for ever", "9110 §7.6", get("Via: " + ", ".join(["1.1 slipway"] * 30) + "\r\n"),
        [status(400, 502, 508), in_sync, untouched], forwarded()),
    row("Date is in a response that had none", "9110 §6.6.1", get(), [status(200), client_has("date",
        "[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT")]),
    row("Date of the origin is kept", "9110 §6.6.1", get(), [status(200), lambda seen: None
        if seen.finals[0].all("date") == ["Tue, 15 Nov 1994 08:12:31 GMT"]
        else "Date: %s" % seen.finals[0].all("date")],
        answer=reply("Date: Tue, 15 Nov 1994 08:12:31 GMT\r\nContent-Length: 2\r\n", b"ok")),
    row("Server of the origin is not made another's", "9110 §10.2.4 (MAY)", get(), [status(200)],
        answer=reply("Server: origin/1\r\nContent-Length: 2\r\n", b"ok")),
    row("the content is not transformed under no-transform", "9110 §7.7", get("Accept-Encoding: gzip\r\n"),
        [status(200), body(b"x" * 2000), client_lacks("content-encoding")],
        answer=reply("Cache-Control: no-transform\r\nContent-Type: text/plain\r\nContent-Length: 2000\r\n",
        b"x" * 2000)),
    row("ETag, Content-Range and the like are kept as they came", "9110 §7.7", get("Range: bytes=0-1\r\n"),
        [status(206), client_has("etag", '"a"'), client_has("content-range", "bytes 0-1/5"), body(b"ok")],
        answer=reply('ETag: "a"\r\nContent-Range: bytes 0-1/5\r\nContent-Length: 2\r\n', b"ok", "206 Partial Content")),
    row("conditional fields are passed on", "9110 §13",
        get('If-None-Match: "a", W/"b"\r\nIf-Modified-Since: Sat, 29 Oct 1994 19:43:31 GMT\r\n'), [status(304),
        origin_has("if-none-match"), origin_has("if-modified-since", "Sat, 29 Oct 1994 19:43:31 GMT")],
        answer=reply('ETag: "a"\r\n', b"", "304 Not Modified")),
    row("Range is passed on", "9110 §14.2", get("Range: bytes=0-1\r\n"), forwarded(origin_only("range", "bytes=0-1"))),
    row("Authorization is passed on", "9110 §11.6.2", get("Authorization: Bearer x\r\n"),
        forwarded(origin_only("authorization", "Bearer x"))),
    row("WWW-Authenticate is passed on", "9110 §11.6.1", get(), [status(401), client_has("www-authenticate",
        'Basic realm="x"')], answer=reply('WWW-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n', b"",
        "401 Unauthorized")),
])
