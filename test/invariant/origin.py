"""origin.py PORT LOG - Python's own HTTP server; answers every request with what it understood, and puts that on record once
the body is whole. Lengths and chunk sizes are read the way careless code reads them: int(), which takes signs, spaces and
underscores, and lines that end in a bare LF."""
import hashlib
import http.server
import socketserver
import sys
import threading

LOCK = threading.Lock()
BODY_MAX = 1 << 22


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def record(self, status, body):
        fields = (self.headers.get("X-Request-ID") or "-", self.command, self.path, str(status), body)
        with LOCK:
            LOG.write("\t".join(fields).encode("latin-1", "replace") + b"\n")

    def handle_expect_100(self):
        goes_on = super().handle_expect_100()
        self.wfile.flush()
        return goes_on

    def read_all(self, count):
        data = self.rfile.read(count)
        if len(data) < count:
            raise EOFError
        return data

    def read_body(self):
        if "chunked" in (self.headers.get("Transfer-Encoding") or "").lower():
            body = b""
            while True:
                size = int(self.rfile.readline(65536).split(b";")[0], 16)
                if size == 0:
                    while self.rfile.readline(65536).strip():
                        pass
                    return body
                body += self.read_all(min(size, BODY_MAX))
                self.rfile.readline(65536)
        return self.read_all(min(int(self.headers.get("Content-Length") or 0), BODY_MAX))

    def answer(self):
        try:
            data = self.read_body()
        except (ValueError, EOFError, OSError):
            self.record(499, "-")
            self.close_connection = True
            return
        body = "%d:%s" % (len(data), hashlib.sha1(data).hexdigest()[:16])
        self.record(200, body)
        self.send_response(200)
        self.send_header("X-Seen", self.path)
        self.send_header("X-Body", body)
        self.send_header("Content-Length", "5")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(b"seen\n")

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def log_message(self, *words):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 1024

    def handle_error(self, request, client_address):
        pass


if __name__ == "__main__":
    LOG = open(sys.argv[2], "ab", buffering=0)
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
