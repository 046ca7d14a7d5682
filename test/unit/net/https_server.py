"""Servers for test_https_client: https_server.py FOLDER writes ca.pem there, prints "PLAIN_PORT TLS_PORT HANGING_PORT" and
serves until standard input ends."""
import http.server
import os
import socket
import ssl
import subprocess
import sys
import threading

folder = sys.argv[1]
certificate, key = os.path.join(folder, "ca.pem"), os.path.join(folder, "ca.key")
subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost", "-addext",
                "subjectAltName=DNS:localhost,DNS:ca.example"], check=True, capture_output=True)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        if self.path == "/large":
            self.answer(200, b"x" * 100000)
        elif self.path == "/move":
            self.answer(302, Location=f"http://localhost:{plain.server_address[1]}/moved")
        elif self.path == "/circle":
            self.answer(302, Location="/circle")
        elif self.path == "/file":
            self.answer(302, Location="file:///etc/passwd")
        elif self.path == "/error":
            self.answer(503, b"busy", Retry_After="17")
        else:
            self.answer(200, self.path.encode(), Replay_Nonce="abc", Content_Type="text/plain",
                        Link='<https://localhost/next>;rel="up"', Location="/there")

    do_HEAD = do_GET

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(201, (self.headers.get("X-Test") or "").encode() + b":" + (
            self.headers.get("User-Agent") or "").encode().split(b"/")[0] + b":" + body)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *arguments):
        pass  # clients that do not trust us hang up


plain = Server(("127.0.0.1", 0), Handler)
tls = Server(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
context.set_alpn_protocols(["acme-tls/1", "http/1.1"])
tls.socket = context.wrap_socket(tls.socket, server_side=True, do_handshake_on_connect=False)
hanging = socket.socket()
hanging.bind(("127.0.0.1", 0))
hanging.listen(16)
for server in (plain, tls):
    threading.Thread(target=server.serve_forever, daemon=True).start()
print(plain.server_address[1], tls.server_address[1], hanging.getsockname()[1], flush=True)
sys.stdin.read()
