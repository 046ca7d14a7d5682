"""Certificates of an ACME authority, by the whole program: routes that want them, edges that answer for them, names on
demand. (The client alone, with the faults of authorities: test_acme.py.) Names below "localhost" lead to this machine.
"""
import http.server
import os
import ssl
import threading
import time

import pytest
from acme_lab import Pebble
from harness import Platform, free_port, wait_for
from test_tls import certificates, curl, handshake, knocking, site, suppressed, wait_valid


class Lab:
    """A platform, and an authority that looks for challenges at its ports."""

    def __init__(self, mode="unprivileged"):
        self.platform = Platform(mode)
        self.platform.https_listen = f"127.0.0.1:{free_port()}"
        self.platform.environment |= {"SLIPWAY_ACME_HTTP_PORT": str(self.platform.port),
                                      "SLIPWAY_ACME_HTTPS_PORT": self.platform.https_listen.rpartition(":")[2]}
        self.pebble = Pebble(self.platform.port, int(self.platform.https_listen.rpartition(":")[2]))
        self.roots = os.path.join(self.pebble.folder, "roots.pem")
        self.platform.start()
        with open(self.roots, "w") as file:
            file.write(self.pebble.roots())

    @property
    def authority(self):
        return f"acme: {{directory: '{self.pebble.directory}', caFile: {self.pebble.ca_file}, email: ops@example.org}}\n"

    def trusting(self):
        context = ssl.create_default_context(cafile=self.roots)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT if hasattr(ssl, "VERIFY_X509_STRICT") else ~0
        return context

    def close(self):
        try:
            self.platform.close()
        finally:
            self.pebble.close()


@pytest.fixture
def lab():
    lab = Lab()
    try:
        yield lab
    finally:
        lab.close()


class Ask(http.server.ThreadingHTTPServer):
    """The application's word on names: those that begin with "good" are fine."""

    def __init__(self):
        self.asked = []
        ask = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *arguments):
                pass

            def do_GET(self):  # noqa: N802 the library's name
                name = self.path.partition("?domain=")[2]
                ask.asked.append(name)
                self.send_response(200 if name.startswith("good") else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/allowed"

    def close(self):
        self.shutdown()
        self.server_close()


def test_each_challenge_gets_its_certificate(lab):
    platform = lab.platform
    log = os.path.join(platform.base, "hook.log")
    site(platform, "  - {host: http.localhost, service: site, tls: {mode: acme, challenge: http-01}}\n"
                   "  - {host: alpn.localhost, service: site, tls: {mode: acme, challenge: tls-alpn-01}}\n"
                   f"  - {{host: '*.wild.localhost', service: site, tls: {{mode: acme, dnsHook: '{lab.pebble.dns_hook(log)}'}}}}\n"
                   + lab.authority)
    entries = wait_valid(platform, "http.localhost", "alpn.localhost", "*.wild.localhost", timeout=90)
    for name, host in (("http.localhost",) * 2, ("alpn.localhost",) * 2, ("*.wild.localhost", "a.wild.localhost")):
        assert entries[name]["source"] == "acme" and "Pebble" in entries[name]["issuer"]
        done = wait_for(lambda host=host: (lambda got: got.returncode == 0 and got)(curl(platform, host, ca=lab.roots)), 10,
                        f"{host} is served")
        assert "shop" in done.stdout
    with open(log) as file:
        assert [line.split()[0] for line in file] == ["present", "cleanup"]
    # The challenge is answered on plain HTTP only while there is one, and is never redirected.
    assert platform.get("/.well-known/acme-challenge/nothing", host="http.localhost")[0] in (200, 404)
    assert platform.get("/", host="http.localhost")[0] == 308


def test_a_certificate_outlives_control_and_is_renewed_on_request_without_a_failed_handshake(lab):
    platform = lab.platform
    site(platform, "  - {host: app.localhost, service: site, tls: acme}\n" + lab.authority)
    wait_valid(platform, "app.localhost", timeout=60)
    first = wait_for(lambda: suppressed(lambda: handshake(platform, "app.localhost")), 10, "it is served")
    with knocking(platform, "app.localhost"):
        platform.kill_role("control")
        wait_valid(platform, "app.localhost")
        assert handshake(platform, "app.localhost") == first
        platform.cli("certificates", "renew", "app.localhost")
        wait_for(lambda: handshake(platform, "app.localhost") != first, 60, "the new one serves")
    assert "no certificate of" in platform.cli("certificates", "renew", "x.localhost", check=False).stderr


def test_names_on_demand_need_a_yes(lab):
    platform, ask = lab.platform, Ask()
    try:
        site(platform, f"  - {{service: site, tls: {{mode: acme, onDemand: '{ask.url}'}}}}\n" + lab.authority)
        assert wait_for(lambda: certificates(platform).get("", {}), 10, "the route is known")["state"] == "on demand"
        serial = wait_for(lambda: suppressed(lambda: handshake(platform, "good.customer.localhost", lab.trusting(), 30)), 60,
                          "a customer's name")
        assert serial and ask.asked[0] == "good.customer.localhost"
        # The handshake that came first was held until the certificate was there.
        assert handshake(platform, "good2.customer.localhost", lab.trusting(), 40)
        for _ in range(5):
            with pytest.raises((ssl.SSLError, ConnectionError, TimeoutError)):
                handshake(platform, "bad.customer.localhost", timeout=30)
        assert ask.asked.count("bad.customer.localhost") == 1, "a no is remembered"
        assert certificates(platform)["good.customer.localhost"]["is_on_demand"]
        count = len(ask.asked)
        platform.kill_role("control")
        wait_valid(platform, "good.customer.localhost")
        assert handshake(platform, "good.customer.localhost", lab.trusting()) == serial
        platform.stop()
        platform.start()
        assert wait_for(lambda: suppressed(lambda: handshake(platform, "good.customer.localhost", lab.trusting())), 10,
                        "it is kept") == serial
        assert len(ask.asked) == count
        with pytest.raises((ssl.SSLError, ConnectionError)):
            handshake(platform, None)
        control = platform.role_pids("control")
        site(platform, "  - {host: other.localhost, service: site}\n")
        wait_for(lambda: "good.customer.localhost" not in certificates(platform), 10, "names go with the route that allowed them")
        assert platform.role_pids("control") == control, "control goes on"
    finally:
        ask.close()


def test_an_ask_that_gives_no_answer_ends_the_handshake_soon(lab):
    platform = lab.platform
    site(platform, "  - {service: site, tls: {mode: acme, onDemand: 'http://127.0.0.1:1/allowed'}}\n" + lab.authority)
    wait_for(lambda: "" in certificates(platform), 10, "the route is known")
    start = time.monotonic()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(platform, "good.customer.localhost", timeout=20)
    assert time.monotonic() - start < 8
