"""Who a request comes from: what a client says about itself is not believed."""
from case import area, forwarded, get, origin_lacks, refused, row


def last_is_peer(seen):
    items = [i.strip() for v in seen.requests[0].all("x-forwarded-for") for i in v.split(",")]
    if not items or items[-1] != "127.0.0.1":
        return "X-Forwarded-For: %s" % items


ROWS = area("identity", "h1", [
    row("X-Forwarded-For ends in the peer's address", "de facto", get(), forwarded(last_is_peer)),
    row("X-Forwarded-For of a client is replaced or before the peer's", "7239 §8.1",
        get("X-Forwarded-For: 6.6.6.6\r\n"), forwarded(last_is_peer)),
    row("X-Forwarded-For in two lines is one list", "9110 §5.3",
        get("X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\n"), forwarded(last_is_peer)),
    row("X-Forwarded-For that is long is no trouble", "7239 §8.1",
        get("X-Forwarded-For: " + ", ".join(["6.6.6.6"] * 300) + "\r\n"), forwarded(last_is_peer), *refused(400, 431)),
    row("the underscore twin of X-Forwarded-For is not passed on", "7239 §8.1", get("X_Forwarded_For: 6.6.6.6\r\n"),
        forwarded(origin_lacks("x_forwarded_for")), *refused(400)),
    row("the underscore twin of Content-Length is not passed on", "9112 §11.2", get("Content_Length: 6\r\n"),
        forwarded(origin_lacks("content_length")), *refused(400)),
    row("the underscore twin of Transfer-Encoding is not passed on", "9112 §11.2",
        get("Transfer_Encoding: chunked\r\n"), forwarded(origin_lacks("transfer_encoding")), *refused(400)),
])
