"""A CA of one's own for tests: pebble with its DNS, a proxy before it that sees and spoils requests, and the ACME client
alone (test/support/acme_harness.c). Ports are free ones, files in temporary folders, everything ends with its owner.
"""
import base64
import contextlib
import http.client
import http.server
import json
import os
import queue
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.request

import harness

CLIENT = os.environ.get("SLIPWAY_ACME_HARNESS",
                        os.path.join(os.path.dirname(harness.BINARY), "test", "support", "acme_harness"))


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def is_open(port):
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False


def make_certificate(folder):
    """A self-signed certificate for localhost: (certificate, key)."""
    paths = os.path.join(folder, "ca.pem"), os.path.join(folder, "ca.key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-keyout", paths[1], "-out", paths[0], "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)
    os.chmod(paths[1], 0o644)
    return paths


class Process:
    def __init__(self, command, log, environment=None):
        self.log = open(log, "ab")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        env={**os.environ, **(environment or {})})

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        self.log.close()


class Pebble:
    """pebble and pebble-challtestsrv. http_port and https_port are where it looks for challenges."""

    def __init__(self, http_port, https_port, environment=None, **config):
        self.folder = tempfile.mkdtemp(prefix="slipway-pebble-", dir="/tmp")
        os.chmod(self.folder, 0o755)
        self.ca_file, key = make_certificate(self.folder)
        self.port, self.management_port, self.dns_manage_port = free_ports(3)
        self.dns_port = free_ports(1)[0]
        self.environment = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0",
                            **(environment or {})}
        self.config = {"listenAddress": f"127.0.0.1:{self.port}",
                       "managementListenAddress": f"127.0.0.1:{self.management_port}",
                       "certificate": self.ca_file, "privateKey": key, "httpPort": http_port, "tlsPort": https_port,
                       "ocspResponderURL": "", "externalAccountBindingRequired": False,
                       "retryAfter": {"authz": 1, "order": 1}, **config}
        self.log_path = os.path.join(self.folder, "pebble.log")
        self.process = self.dns = None
        self.dns = Process(["pebble-challtestsrv", "-management", f"127.0.0.1:{self.dns_manage_port}", "-defaultIPv4",
                            "127.0.0.1", "-defaultIPv6", "", "-dns01", f"127.0.0.1:{self.dns_port}", "-http01", "",
                            "-https01", "", "-tlsalpn01", ""], os.path.join(self.folder, "dns.log"))
        self.start()
        harness.wait_for(lambda: is_open(self.dns_manage_port), 10, "the DNS server answers")

    @property
    def directory(self):
        return f"https://localhost:{self.port}/dir"

    @property
    def manage_url(self):
        return f"http://127.0.0.1:{self.dns_manage_port}"

    def ca(self, **more):
        return {"directory": self.directory, "ca_file": self.ca_file, **more}

    def start(self):
        path = os.path.join(self.folder, "config.json")
        with open(path, "w") as file:
            json.dump({"pebble": self.config}, file)
        self.process = Process(["pebble", "-config", path, "-strict", "-dnsserver", f"127.0.0.1:{self.dns_port}"],
                               self.log_path, self.environment)
        harness.wait_for(lambda: is_open(self.port), 10, "pebble answers")

    def stop(self):
        if self.process:
            self.process.stop()
        self.process = None

    def log_text(self):
        with open(self.log_path) as log:
            return log.read()

    def manage(self, action, **body):
        request = urllib.request.Request(f"{self.manage_url}/{action}", json.dumps(body).encode())
        urllib.request.urlopen(request, timeout=5).read()

    def set_address(self, name, address):
        self.manage("clear-a", host=name)
        self.manage("add-a", host=name, addresses=[address])

    def roots(self):
        context = ssl.create_default_context(cafile=self.ca_file)
        with urllib.request.urlopen(f"https://localhost:{self.management_port}/roots/0", timeout=5,
                                    context=context) as answer:
            return answer.read().decode()

    def dns_hook(self, log=None):
        """A hook that puts TXT records into the DNS of this CA; with `log`, writes down what it did."""
        path = os.path.join(self.folder, "hook.py")
        with open(path, "w") as file:
            file.write(f"""
import json, os, urllib.request
action, name, value = (os.environ["SLIPWAY_ACME_" + key] for key in ("ACTION", "NAME", "VALUE"))
path = {{"present": "set-txt", "cleanup": "clear-txt"}}[action]
body = {{"host": name + ".", "value": value}}
urllib.request.urlopen("{self.manage_url}/" + path, json.dumps(body).encode(), timeout=10).read()
if {log!r}:
    open({log!r}, "a").write(f"{{action}} {{name}} {{os.environ['SLIPWAY_ACME_DOMAIN']}} {{value}}\\n")
""")
        os.chmod(path, 0o644)
        return f"/usr/bin/python3 {path}"

    def close(self):
        self.stop()
        if self.dns:
            self.dns.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Proxy:
    """In front of a Pebble: notes every request, and lets `spoil(handler, path, payload)` answer in its place (it
    returns True then). With `window`, adds renewal information (RFC 9773): a function of the certificate's identifier
    that returns (start, end) as text."""

    def __init__(self, pebble, spoil=None, window=None):
        self.pebble, self.spoil, self.window = pebble, spoil, window
        self.requests = []  # (method, path, payload)
        self.answers = []  # bodies of the CA's refusals
        self.lock = threading.Lock()
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments):
                pass

            def answer(self, status, body=b"", headers=()):
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def problem(self, status, kind, detail, headers=()):
                body = {"type": f"urn:ietf:params:acme:error:{kind}", "detail": detail, "status": status}
                self.answer(status, json.dumps(body).encode(),
                            (("Content-Type", "application/problem+json"), *headers))

            def relay(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                payload = None
                if body:
                    text = json.loads(body)["payload"]
                    payload = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode(errors="replace")
                with proxy.lock:
                    proxy.requests.append((self.command, self.path, payload))
                if proxy.spoil and proxy.spoil(self, self.path, payload):
                    return
                if proxy.window and self.path.startswith("/renewal-info/"):
                    start, end = proxy.window(self.path.split("/")[-1])
                    self.answer(200, json.dumps({"suggestedWindow": {"start": start, "end": end}}).encode(),
                                [("Retry-After", "3600")])
                    return
                try:
                    self.forward(body)
                except OSError:
                    self.answer(502)

            def forward(self, body):
                context = ssl.create_default_context(cafile=proxy.pebble.ca_file)
                upstream = http.client.HTTPSConnection("localhost", proxy.pebble.port, timeout=20, context=context)
                headers = {"Host": f"localhost:{proxy.port}"}
                for name in ("Content-Type", "Accept", "User-Agent"):
                    if self.headers.get(name):
                        headers[name] = self.headers[name]
                upstream.request(self.command, self.path, body or None, headers)
                answer = upstream.getresponse()
                data = answer.read()
                if answer.status >= 400:
                    proxy.answers.append(data.decode(errors="replace"))
                if self.path == "/dir" and proxy.window:
                    data = json.dumps({**json.loads(data),
                                       "renewalInfo": f"https://localhost:{proxy.port}/renewal-info"}).encode()
                self.answer(answer.status, data, [(name, value) for name, value in answer.getheaders() if name in (
                    "Replay-Nonce", "Location", "Link", "Retry-After", "Content-Type")])
                upstream.close()

            do_GET = do_HEAD = do_POST = relay

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pebble.ca_file, os.path.join(pebble.folder, "ca.key"))
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True,
                                                 do_handshake_on_connect=False)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    @property
    def directory(self):
        return f"https://localhost:{self.port}/dir"

    def ca(self, **more):
        return {"directory": self.directory, "ca_file": self.pebble.ca_file, **more}

    def posts(self, needle):
        with self.lock:
            return [request for request in self.requests if request[0] == "POST" and needle in request[1]]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Client:
    """struct acme alone, answering challenges on two ports."""

    def __init__(self, folder, ports, **settings):
        self.folder, self.ports, self.settings = folder, ports, settings
        self.process = None
        self.events = []
        self.log_path = os.path.join(folder, "client.log")
        self.start()

    def start(self):
        settings = {"state": self.folder, "answer_http_port": self.ports[0], "answer_https_port": self.ports[1],
                    "http_port": self.ports[0], "https_port": self.ports[1], **self.settings}
        self.log = open(self.log_path, "ab")
        self.process = subprocess.Popen([CLIENT, json.dumps(settings)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.log, text=True,
                                        restore_signals=False)  # SIGXFSZ stays ignored: see fill_disk
        self.queue = queue.Queue()
        self.reader = threading.Thread(target=self.read, args=(self.process, self.queue), daemon=True)
        self.reader.start()
        self.next("ready")

    @staticmethod
    def read(process, events):
        for line in process.stdout:
            events.put(json.loads(line))
        events.put(None)

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def want(self, *names, cas, **more):
        self.say("want " + json.dumps({"names": names, "cas": cas, **more}))

    def next(self, *kinds, timeout=30):
        """The next event of these kinds."""
        end = time.monotonic() + timeout
        while True:
            try:
                event = self.queue.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {' or '.join(kinds)} within {timeout} s\n{self.log_text()}") from None
            if event is None:
                raise AssertionError(f"the client ended with {self.process.wait(5)}\n{self.log_text()}")
            self.events.append(event)
            if event["event"] in kinds:
                return event
            assert event["event"] != "error", event

    def certificate(self, name, timeout=30):
        event = self.next("certificate", "failure", timeout=timeout)
        assert event["event"] == "certificate" and event["name"] == name, (event, self.log_text())
        return event

    def issued(self, tolerated=""):
        """The next certificate, whatever attempts fail before it, for the reason that is tolerated."""
        while (event := self.next("certificate", "failure"))["event"] == "failure":
            assert tolerated in event["text"], event
        return event

    def failure(self, timeout=30):
        event = self.next("certificate", "failure", timeout=timeout)
        assert event["event"] == "failure", event
        return event

    def status(self, name):
        self.say(f"status {name}")
        return self.next("status")

    def quiet(self, seconds):
        """Nothing happens for so long."""
        with contextlib.suppress(queue.Empty):
            raise AssertionError(f"unexpected: {self.queue.get(timeout=seconds)}")

    def fill_disk(self, is_full):
        """From now on its files do not grow, as if the disk were full; or they do again."""
        _, hard = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (0 if is_full else hard, hard))

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        self.process.stdin.close()
        self.reader.join(5)
        self.process.stdout.close()
        self.log.close()

    def stop(self):
        """An orderly end: the sanitizers look for leaks."""
        if not self.process or self.process.poll() is not None:
            return
        self.say("quit")
        code = self.process.wait(20)
        self.process.stdin.close()
        self.reader.join(5)
        self.process.stdout.close()
        self.log.close()
        assert code == 0, f"the client exited with {code}\n{self.log_text()}"

    def log_text(self, size=6000):
        with open(self.log_path) as log:
            return log.read()[-size:]


class Lab:
    """Clients, CAs and proxies of one test."""

    def __init__(self):
        self.stack = contextlib.ExitStack()
        self.folder = tempfile.mkdtemp(prefix="slipway-acme-", dir="/tmp")
        self.stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.ports = free_ports(2)

    def pebble(self, environment=None, **config):
        pebble = Pebble(*self.ports, environment=environment, **config)
        self.stack.callback(pebble.close)
        return pebble

    def proxy(self, pebble, **more):
        proxy = Proxy(pebble, **more)
        self.stack.callback(proxy.close)
        return proxy

    def client(self, **settings):
        client = Client(self.folder, self.ports, **settings)
        self.stack.callback(client.stop)
        return client

    def close(self):
        self.stack.close()


def names_of(pem):
    """What a certificate says: {names, issuer, dates} by openssl."""
    out = subprocess.run(["openssl", "x509", "-noout", "-ext", "subjectAltName", "-issuer", "-serial", "-enddate"],
                         input=pem, capture_output=True, text=True, check=True).stdout
    return sorted(part.strip()[4:] for part in out.replace("\n", ",").split(",") if part.strip().startswith("DNS:"))


def verifies(chain, roots):
    """Does the chain lead to these roots?"""
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in ("chain.pem", "roots.pem")]
        for path, text in zip(paths, (chain, roots)):
            with open(path, "w") as file:
                file.write(text)
        done = subprocess.run(["openssl", "verify", "-CAfile", paths[1], "-untrusted", paths[0], paths[0]],
                              capture_output=True, text=True, check=False)
        return done.returncode == 0


def key_matches(chain, key):
    public = [subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
              for command, text in ((["openssl", "x509", "-noout", "-pubkey"], chain),
                                    (["openssl", "pkey", "-pubout"], key))]
    return public[0] == public[1]
