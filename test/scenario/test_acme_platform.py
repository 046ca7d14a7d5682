"""Certificates of a real CA (pebble) on the whole platform: challenges answered by the edges, hooks as units, names on
demand, renewals under traffic, control killed in the middle."""
import contextlib
import http.server
import os
import socket
import ssl
import threading
import time

import pytest

import acme_lab
from harness import Platform, modes, wait_for

SITE = "app: shop\nservices: {{site: {{type: static}}}}\nroutes:\n{routes}\nacme: {acme}\n"


class World:
    """A platform whose names (below localhost) lead to it, also for the CA."""

    def __init__(self, mode):
        self.stack = contextlib.ExitStack()
        ports = acme_lab.free_ports(1)
        self.platform = Platform(mode)
        self.stack.callback(self.platform.close)
        self.platform.https_listen = f"127.0.0.1:{ports[0]}"
        self.platform.environment.update(SLIPWAY_ACME_HTTP_PORT=str(self.platform.port),
                                         SLIPWAY_ACME_HTTPS_PORT=str(ports[0]))
        self.ports = (self.platform.port, ports[0])

    def pebble(self, environment=None, **config):
        pebble = acme_lab.Pebble(*self.ports, environment=environment, **config)
        self.stack.callback(pebble.close)
        return pebble

    def proxy(self, pebble, **more):
        proxy = acme_lab.Proxy(pebble, **more)
        self.stack.callback(proxy.close)
        return proxy

    def deploy(self, routes, ca, more=""):
        acme = f"{{directory: '{ca['directory']}', caFile: {ca['ca_file']}, email: ops@example.org{more}}}"
        self.platform.deploy(self.platform.folder("shop", {
            "index.html": "shop\n", "slipway.yaml": SITE.format(routes=routes, acme=acme)}))

    def entry(self, name):
        entries = {entry["name"]: entry for entry in self.platform.json("certificates")["certificates"]}
        return entries.get(name, {})

    def valid(self, *names, timeout=60):
        wait_for(lambda: all(self.entry(name).get("state") == "valid" for name in names), timeout,
                 f"certificates of {names}: {[self.entry(name) for name in names]}", interval=0.2)

    def handshake(self, name, roots, timeout=30):
        """A request by a client that trusts only these roots: (serial, answer)."""
        context = ssl.create_default_context(cadata=roots)
        with socket.create_connection(("127.0.0.1", self.ports[1]), timeout=timeout) as raw, \
                context.wrap_socket(raw, server_hostname=name) as tls:
            serial = tls.getpeercert()["serialNumber"]
            tls.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while chunk := tls.recv(65536):
                answer += chunk
        return serial, answer


@pytest.fixture(params=modes())
def world(request):
    world = World(request.param)
    try:
        world.platform.start()
        yield world
    finally:
        world.stack.close()


@pytest.fixture
def one_world():
    world = World(modes()[0])
    try:
        world.platform.start()
        yield world
    finally:
        world.stack.close()


def test_hosts_get_certificates_by_every_challenge(world):
    pebble = world.pebble({"PEBBLE_WFE_NONCEREJECT": "15"})
    log = os.path.join(pebble.folder, "hook.log")
    with open(log, "w"):
        os.chmod(log, 0o666)
    world.deploy("  - {host: a.localhost, service: site, tls: acme}\n"
                 "  - {host: b.localhost, service: site, tls: {mode: acme, challenge: tls-alpn-01}}\n"
                 f"  - {{host: '*.w.localhost', service: site, tls: {{mode: acme, dnsHook: '{pebble.dns_hook(log)}'}}}}\n",
                 pebble.ca())
    world.valid("a.localhost", "b.localhost", "*.w.localhost")
    roots = pebble.roots()
    for name in ("a.localhost", "b.localhost", "x.w.localhost"):
        assert world.handshake(name, roots)[1].startswith(b"HTTP/1.1 200"), name
    with open(log) as file:
        assert [line.split()[0] for line in file] == ["present", "cleanup"]
    entry = world.entry("a.localhost")
    assert entry["source"] == "acme" and "Pebble" in entry["issuer"] and not entry["last_error"]
    assert entry["next_renewal"] < entry["not_after"]
    # Plain HTTP goes to https from now on, but for the CA's path.
    assert world.platform.get("/", host="a.localhost")[0] == 308
    assert world.platform.get("/.well-known/acme-challenge/unknown", host="a.localhost")[0] == 404
    text = world.platform.log_text(1 << 20)
    assert "PRIVATE KEY" not in text


def test_control_killed_in_the_middle_orders_once(one_world):
    killed = []

    def spoil(_handler, path, _payload):
        if "/finalize-order/" in path and not killed:
            killed.append(path)
            one_world.platform.kill_role("control")
        return False

    pebble = one_world.pebble()
    proxy = one_world.proxy(pebble, spoil=spoil)
    one_world.deploy("  - {host: a.localhost, service: site, tls: acme}\n", proxy.ca())
    wait_for(lambda: killed, 30, "control is killed")
    one_world.valid("a.localhost")
    assert len(proxy.posts("/order-plz")) == 1 and len(proxy.posts("/sign-me-up")) == 1
    # It lives on without a CA.
    roots = pebble.roots()
    pebble.stop()
    before = one_world.handshake("a.localhost", roots)[0]
    one_world.platform.kill_role("control")
    wait_for(one_world.platform.is_serving, 30, "control is back")
    one_world.valid("a.localhost")
    assert one_world.handshake("a.localhost", roots)[0] == before


def test_renewals_are_swapped_under_traffic(one_world):
    pebble = one_world.pebble(certificateValidityPeriod=15)
    one_world.deploy("  - {host: a.localhost, service: site, tls: acme}\n", pebble.ca())
    one_world.valid("a.localhost")
    roots, serials, failures = pebble.roots(), [], []
    end = time.monotonic() + 25
    while time.monotonic() < end and len(set(serials)) < 3:
        try:
            serial, answer = one_world.handshake("a.localhost", roots)
            assert answer.startswith(b"HTTP/1.1 200")
            serials.append(serial)
        except (OSError, AssertionError) as error:
            failures.append(error)
        time.sleep(0.02)
    assert not failures, failures[:3]
    assert len(set(serials)) >= 3, set(serials)


def test_names_of_customers_get_certificates_on_demand_after_a_yes(one_world):
    asked = []

    class Ask(http.server.BaseHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def do_GET(self):
            asked.append(self.path)
            self.send_response(200 if "=yes" in self.path else 403)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ask)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    one_world.stack.callback(server.server_close)
    one_world.stack.callback(server.shutdown)
    proxy = one_world.proxy(one_world.pebble())
    one_world.deploy("  - {service: site, tls: {mode: acme, onDemand: {ask: 'http://127.0.0.1:"
                     f"{server.server_address[1]}/allowed'}}}}}}\n", proxy.ca())
    roots = proxy.pebble.roots()
    began = time.monotonic()
    serial, answer = one_world.handshake("yes.localhost", roots)  # this handshake waits for its certificate
    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert time.monotonic() - began < 25
    assert one_world.handshake("yes.localhost", roots)[0] == serial
    with pytest.raises((ssl.SSLError, OSError)):
        one_world.handshake("no.localhost", roots)
    assert len(proxy.posts("/order-plz")) == 1
    assert any("no.localhost" in path for path in asked)
    # A new life of control knows it still.
    one_world.platform.kill_role("control")
    wait_for(one_world.platform.is_serving, 30, "control is back")
    assert one_world.handshake("yes.localhost", roots)[0] == serial


def test_what_is_wrong_is_told_and_a_second_ca_helps(one_world):
    first, second = one_world.pebble(), one_world.pebble()
    first.stop()
    one_world.deploy("  - {host: a.localhost, service: site, tls: acme}\n"
                     "  - {host: nowhere.invalid, service: site, tls: acme}\n", first.ca(),
                     f", fallback: {{directory: '{second.directory}', caFile: {second.ca_file}}}")
    one_world.valid("a.localhost", timeout=90)
    assert one_world.handshake("a.localhost", second.roots())[1].startswith(b"HTTP/1.1 200")
    wait_for(lambda: one_world.entry("nowhere.invalid").get("last_error"), 30, "the reason is told")
    assert "has no address" in one_world.entry("nowhere.invalid")["last_error"]
    shown = one_world.platform.cli("certificates").stdout
    assert "nowhere.invalid does not reach this machine" in shown, shown
    # Plain HTTP answers on meanwhile.
    assert one_world.platform.get("/", host="nowhere.invalid")[0] == 200
