"""What a byte stream from a client means, by the strictest reading of RFC 9112: the yardstick that the edge is held against.

Written from the RFC and docs/design/edge.md, without a look at the codec. The edge may refuse more than this does; it must
never accept what this refuses, and never read what both accept in another way.
"""
import hashlib
import re

MARKER = re.compile(r"m[0-9a-f]{12,}")  # 20 digits, unless a mutation hit them
TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([!-~]+) HTTP/1\.([0-9])\Z")
FIELD = re.compile(rb"(" + TOKEN + rb"):[ \t]*((?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)[ \t]*\Z")
CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?\Z")
HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?\Z")


class Unfinished(Exception):
    """More bytes could still make it a message."""


class Invalid(Exception):
    """Never a message, whatever follows."""


class Request:
    def __init__(self, method, target, marker):
        self.method, self.target, self.marker = method, target, marker
        self.body = b""
        self.is_last = False

    @property
    def body_text(self):
        return "%d:%s" % (len(self.body), hashlib.sha1(self.body).hexdigest()[:16])


def normalised_path(target):
    """The part of a target that routing looks at, escapes decoded, dot segments removed."""
    target = target.decode("latin-1")
    match = re.match(r"(?i)https?://[^/?]*", target)
    if match:
        target = target[match.end():] or "/"
    path, _, query = target.partition("?")
    path = re.sub(r"%([0-9A-Fa-f]{2})", lambda escape: chr(int(escape[1], 16)), path)
    kept = []
    for segment in path.split("/"):
        if segment == "..":
            if kept:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    return "/".join(kept) + "?" + query


def marker_of(target):
    found = MARKER.findall(normalised_path(target))
    return found[0] if len(found) == 1 else None


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def line(self):
        end = self.data.find(b"\n", self.at)
        if end < 0:
            rest = self.data[self.at:]
            if b"\r" in rest[:-1]:
                raise Invalid("bare CR")
            raise Unfinished
        line = self.data[self.at:end]
        if not line.endswith(b"\r"):
            raise Invalid("bare LF")
        self.at = end + 1
        return line[:-1]

    def exactly(self, count):
        if len(self.data) - self.at < count:
            raise Unfinished
        self.at += count
        return self.data[self.at - count:self.at]

    def fields(self):
        fields = []
        while True:
            line = self.line()
            if not line:
                return fields
            match = FIELD.match(line)
            if not match:
                raise Invalid("field")
            fields.append((match[1].lower(), match[2]))

    def request_head(self):
        while self.data[self.at:self.at + 2] == b"\r\n":
            self.at += 2
        if self.at == len(self.data):
            raise Unfinished
        match = REQUEST_LINE.match(self.line())
        if not match:
            raise Invalid("request line")
        method, target, minor = match[1].decode(), match[2], min(int(match[3]), 1)
        fields = self.fields()
        return method, target, minor, fields

    def request(self, found):
        """The next request; it is in `found` as soon as its head is good, whatever becomes of its body."""
        method, target, minor, fields = self.request_head()

        def values(name):
            return [value for field, value in fields if field == name]

        hosts, codings, lengths = values(b"host"), values(b"transfer-encoding"), values(b"content-length")
        if len(hosts) > 1 or (minor == 1 and not hosts) or not all(HOST.match(host) for host in hosts):
            raise Invalid("host")
        if method == "CONNECT":
            raise Invalid("no tunnels")
        if re.search(rb"[#\\]", target) or not re.match(rb"/|(?i:https?)://[^/?@]|\*\Z", target):
            raise Invalid("target")
        if target == b"*" and method != "OPTIONS":
            raise Invalid("star")
        if codings and (lengths or minor == 0 or len(codings) > 1 or codings[0].lower() != b"chunked"):
            raise Invalid("coding")
        if lengths and (len(lengths) > 1 or not re.fullmatch(rb"[0-9]+", lengths[0]) or int(lengths[0]) >= 1 << 63):
            raise Invalid("length")
        if minor and any(value.lower() != b"100-continue" for value in values(b"expect")):
            raise Invalid("expectation")
        options = [option.strip().lower() for value in values(b"connection") for option in value.split(b",")]
        request = Request(method, target, marker_of(target))
        request.is_last = b"close" in options or (minor == 0 and b"keep-alive" not in options)
        found.append(request)
        if codings:
            self.chunks(request)
        elif lengths:
            request.body = self.exactly(int(lengths[0]))
        return request

    def chunks(self, request):
        while True:
            match = CHUNK.match(self.line())
            if not match:
                raise Invalid("chunk size")
            size = int(match[1], 16)
            if size == 0:
                self.fields()
                return
            request.body += self.exactly(size)
            if self.exactly(2) != b"\r\n":
                raise Invalid("chunk end")


def read_stream(data):
    """(requests, begun, verdict): the whole requests in order; the one whose head is good but whose body is not whole, or
    None; and "end", "unfinished" or "invalid"."""
    reader, whole = Reader(data), []
    while reader.at < len(data):
        found, start = [], reader.at
        try:
            whole.append(reader.request(found))
        except Unfinished:
            return whole, found[0] if found else None, "unfinished"
        except Invalid:
            is_refused = found or b"\r\n\r\n" in data[start:].lstrip(b"\r\n")  # a reader may wait for the end of the head
            return whole, found[0] if found else None, "invalid" if is_refused else "unfinished"
        if whole[-1].is_last:
            break
    return whole, None, "end"
