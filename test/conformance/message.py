"""Reading of HTTP/1.1 messages off recorded bytes: exact, and with nothing guessed."""
import re
import select

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"


def is_readable(peer, seconds):
    """Whether there is something to read within that time (select() knows only descriptors below 1024)."""
    poll = select.poll()
    poll.register(peer, select.POLLIN)
    return bool(poll.poll(max(0, seconds) * 1000))


class Message:
    def __init__(self, head):
        lines = head[:-4].split(b"\r\n")
        self.head = head
        self.start = lines[0].decode("latin-1")
        self.fields = []
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            self.fields.append((name.decode("latin-1"), value.strip(b" \t").decode("latin-1")))
        self.body = b""
        self.trailers = []
        self.complete = False
        self.framing = "none"
        parts = self.start.split(" ")
        self.is_response = self.start.startswith("HTTP/")
        if self.is_response:
            self.version = parts[0][5:]
            self.status = int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0
        else:
            self.method = parts[0]
            self.target = parts[1] if len(parts) > 1 else ""
            self.version = parts[-1][5:]

    def all(self, name):
        return [v for n, v in self.fields if n.lower() == name.lower()]

    def lint(self):
        """What no receiver should ever be sent. None, or what is wrong."""
        for line in self.head[:-4].split(b"\r\n")[1:]:
            if not re.match(TOKEN + rb":", line):
                return "a field line %r" % line[:60]
            if re.search(rb"[\x00\r\n]", line):
                return "control characters in %r" % line[:60]
        lengths, codings = self.all("content-length"), self.all("transfer-encoding")
        if len(lengths) + len(codings) > 1:
            return "several framing fields: %s %s" % (lengths, codings)
        if lengths and not re.fullmatch(r"[0-9]+", lengths[0]):
            return "Content-Length: %s" % lengths
        if codings and codings[0].lower() != "chunked":
            return "Transfer-Encoding: %s" % codings
        if self.is_response:
            if (codings or lengths) and (self.status < 200 or self.status == 204):
                return "framing fields in a %d" % self.status
            return None
        if self.version == "1.1" and len(self.all("host")) != 1:
            return "Host: %s" % self.all("host")
        if codings and self.version == "1.0":
            return "Transfer-Encoding in HTTP/1.0"
        options = [o.strip().lower() for v in self.all("connection") for o in v.split(",")]
        for option in options:
            if option and option not in ("close", "keep-alive", "upgrade", "te") and self.all(option):
                return "a field that Connection names: %s" % option
        return None


def read_chunked(data, at):
    """(body, trailers, end): end None when it is not complete, -1 when it is malformed."""
    body = b""
    while True:
        line_end = data.find(b"\r\n", at)
        if line_end < 0:
            return body, [], None
        match = re.fullmatch(rb"([0-9a-fA-F]{1,16})[ \t]*(;.*)?", data[at:line_end])
        if not match:
            return body, [], -1
        size = int(match.group(1), 16)
        at = line_end + 2
        if size == 0:
            break
        body += data[at:at + size]
        if len(data) < at + size + 2:
            return body, [], None
        if data[at + size:at + size + 2] != b"\r\n":
            return body, [], -1
        at += size + 2
    trailers = []
    while True:
        line_end = data.find(b"\r\n", at)
        if line_end < 0:
            return body, trailers, None
        line, at = data[at:line_end], line_end + 2
        if not line:
            return body, trailers, at
        name, _, value = line.partition(b":")
        trailers.append((name.decode("latin-1"), value.strip().decode("latin-1")))


def read_message(data, at, method=None, is_ended=False):
    """The message at data[at:] and where it ends, or (None, at) when its head is not complete.

    `method` of the request when it is a response. An end of None: the body is not complete yet."""
    head_end = data.find(b"\r\n\r\n", at)
    if head_end < 0:
        return None, at
    message = Message(data[at:head_end + 4])
    at = head_end + 4
    lengths, codings = message.all("content-length"), message.all("transfer-encoding")
    if message.is_response and (message.status < 200 or message.status in (204, 304) or method == "HEAD"):
        message.complete = True
        return message, at
    if codings:
        message.framing = "chunked"
        message.body, message.trailers, end = read_chunked(data, at)
        message.complete = end is not None and end >= 0
        return message, end
    if lengths and lengths[0].isdigit():
        message.framing = "length"
        size = int(lengths[0])
        message.body = data[at:at + size]
        message.complete = len(message.body) == size
        return message, at + size if message.complete else None
    if message.is_response:
        message.framing = "close"
        message.body = data[at:]
        message.complete = is_ended
        return message, len(data) if is_ended else None
    message.complete = True
    return message, at


def read_responses(data, methods, end):
    """All responses in data: (interims, finals, rest). The last may be incomplete.

    `end` is 'end' when the connection ended cleanly, 'reset', or None while it is open."""
    interims, finals, at = [], [], 0
    while at is not None and at < len(data):
        if not data[at:at + 5] == b"HTTP/"[:len(data) - at]:
            return interims, finals, data[at:]
        method = methods[min(len(finals), len(methods) - 1)]
        message, after = read_message(data, at, method, end == "end")
        if message is None:
            return interims, finals, data[at:]
        if 100 <= message.status < 200 and message.status != 101:
            interims.append(message)
        else:
            finals.append(message)
        if message.status == 101:
            return interims, finals, data[after:]
        if after is not None and after < 0:
            return interims, finals, data[at:]
        at = after
    return interims, finals, b""
