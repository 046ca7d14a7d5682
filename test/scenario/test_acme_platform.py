"""Certificates of a real CA (pebble) on the whole platform: challenges answered by the edges, hooks as units, names on
demand, renewals under traffic, control killed in the middle."""
import contextlib
import http.server
import os
import socket
import sqlite3
import ssl
import threading
import time

import pytest

import acme_lab
from harness import Platform, modes, wait_for
from test_tls import make_pair, suppressed

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


def asking(world):
    """(URL of an application that says yes to names with "yes", what it was asked)."""
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
    world.stack.callback(server.server_close)
    world.stack.callback(server.shutdown)
    return f"http://127.0.0.1:{server.server_address[1]}/allowed", asked


def test_names_of_customers_get_certificates_on_demand_after_a_yes(one_world):
    ask, asked = asking(one_world)
    proxy = one_world.proxy(one_world.pebble())
    one_world.deploy(f"  - {{service: site, tls: {{mode: acme, onDemand: {{ask: '{ask}'}}}}}}\n", proxy.ca())
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


def test_a_name_of_a_customer_follows_its_route_to_another_authority_and_to_files(one_world):
    ask, _ = asking(one_world)
    first, second = one_world.pebble(), one_world.pebble(certificateValidityPeriod=15)
    route = f"  - {{service: site, tls: {{mode: acme, onDemand: {{ask: '{ask}'}}}}}}\n"
    one_world.deploy(route, first.ca())
    one_world.handshake("yes.localhost", first.roots())
    one_world.deploy(route, second.ca())
    one_world.platform.cli("certificates", "renew", "yes.localhost")
    wait_for(lambda: suppressed(lambda: one_world.handshake("yes.localhost", second.roots())), 30,
             "the authority that the route names now")
    folder = os.path.join(one_world.platform.base, "tls")
    cert, key = make_pair(folder, "own", 77, host="yes.localhost")
    one_world.deploy(route + f"  - {{host: yes.localhost, service: site, tls: {{cert: {cert}, key: {key}}}}}\n", second.ca())
    with open(cert) as file:
        roots = file.read()
    wait_for(lambda: suppressed(lambda: one_world.handshake("yes.localhost", roots)), 20, "the files serve")
    end = time.monotonic() + 14  # by then the authority's would have been renewed
    while time.monotonic() < end:
        one_world.handshake("yes.localhost", roots)
        time.sleep(0.3)


def test_the_dns_is_cleaned_up_when_the_route_of_a_name_on_demand_goes(one_world):
    ask, _ = asking(one_world)
    pebble = one_world.pebble()
    log = os.path.join(pebble.folder, "hook.log")
    with open(log, "w"):
        os.chmod(log, 0o666)

    def done():
        with open(log) as file:
            return [line.split()[0] for line in file]

    one_world.deploy("  - {host: '*.localhost', service: site, tls: {mode: acme, challenge: dns-01, "
                     f"dnsHook: '{pebble.dns_hook(log)}', onDemand: {{ask: '{ask}'}}}}}}\n", pebble.ca())
    control = one_world.platform.role_pids("control")
    threading.Thread(target=lambda: suppressed(lambda: one_world.handshake("yes.localhost", pebble.roots(), 10)),
                     daemon=True).start()
    wait_for(lambda: done() == ["present"], 20, "the hook put the record there")
    one_world.deploy("  - {host: other.localhost, service: site}\n", pebble.ca())
    wait_for(lambda: done() == ["present", "cleanup"], 20, "the hook took it away")
    assert one_world.platform.role_pids("control") == control


def test_a_key_is_stored_once_and_serves_from_older_records_too(one_world):
    ask, _ = asking(one_world)
    pebble = one_world.pebble()
    one_world.deploy("  - {host: a.localhost, service: site, tls: acme}\n"
                     f"  - {{service: site, tls: {{mode: acme, onDemand: {{ask: '{ask}'}}}}}}\n", pebble.ca())
    one_world.valid("a.localhost")
    names, roots = ("a.localhost", "yes.localhost"), pebble.roots()
    serials = {name: one_world.handshake(name, roots)[0] for name in names}
    pebble.stop()

    def restarted(change):
        one_world.platform.stop()
        with contextlib.closing(sqlite3.connect(os.path.join(one_world.platform.state, "store", "state.db"))) as state, state:
            change(state)
        one_world.platform.start()
        for name in names:
            assert wait_for(lambda: suppressed(lambda: one_world.handshake(name, roots)), 10, name)[0] == serials[name]

    def count(state):
        for name in names:
            keys = [key.decode() for key, value in state.execute(
                "SELECT live.key, history.value FROM live JOIN history ON live.id = history.id")
                if name in key.decode() and b"PRIVATE KEY" in value]
            assert keys == [f"/acme/keys/certificate/{name}"], keys

    def age(state):
        for name in names:
            stored = f"/acme/keys/certificate/{name}".encode()
            for part in ("chain", "key"):
                key = f"/certificates/hosts/{name}/{part}".encode()
                row = state.execute("INSERT INTO history (revision, key, create_revision, version, lease, is_delete, value) SELECT "
                                    "revision, ?, create_revision, 1, 0, 0, value FROM history WHERE id = "
                                    "(SELECT id FROM live WHERE key = ?)", (key, stored)).lastrowid
                state.execute("INSERT INTO live (key, id, lease) VALUES (?, ?, 0)", (key, row))
            state.execute("DELETE FROM live WHERE key IN (?, ?)", (stored, f"/acme/certificates/{name}".encode()))

    restarted(count)
    restarted(age)


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
