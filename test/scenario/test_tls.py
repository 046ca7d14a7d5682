"""Hosts with TLS: where certificates come from, how they are replaced, what people are told."""
import contextlib
import os
import socket
import ssl
import subprocess
import threading
import time

import pytest
from harness import Failed, Platform, free_port, wait_for

SITE = "app: {app}\nservices: {{site: {{type: static}}}}\nroutes:\n{routes}"


def site(platform, routes, app="shop", deploy=True):
    folder = platform.folder(app, {"index.html": f"{app}\n", "slipway.yaml": SITE.format(app=app, routes=routes)})
    if deploy:
        platform.deploy(folder)
    return folder


def trust(platform):
    path = os.path.join(platform.base, "ca.pem")
    with open(path, "w") as file:
        file.write(platform.cli("trust").stdout)
    return path


def curl(platform, host, path="/", *options, ca=None, scheme="https"):
    port = platform.https_port if scheme == "https" else platform.port
    trusted = ["--cacert", ca] if ca else ["-k"]
    return subprocess.run(["curl", "-sS", "-i", "--http1.1", "--max-time", "20", *trusted, *options,
                           "--resolve", f"{host}:{port}:127.0.0.1", f"{scheme}://{host}:{port}{path}"],
                          capture_output=True, text=True)


def handshake(platform, host, context=None, timeout=10):
    """The serial number of the certificate that a name gets; raises what the handshake raises."""
    context = context or unverified()
    with socket.create_connection(("127.0.0.1", platform.https_port), timeout=timeout) as raw, \
            context.wrap_socket(raw, server_hostname=host) as tls:
        der = tls.getpeercert(binary_form=True)
        tls.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = tls.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200"), answer[:200]
    return int(subprocess.run(["openssl", "x509", "-inform", "der", "-noout", "-serial"], input=der, check=True,
                              capture_output=True).stdout.decode().partition("=")[2], 16)


def unverified():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def make_pair(folder, name, serial, host="a.test", days="30", key="ec"):
    """A self-signed (certificate, key) that the platform's user may read."""
    os.makedirs(folder, exist_ok=True)
    cert, private = os.path.join(folder, name + ".pem"), os.path.join(folder, name + ".key")
    kind = ["rsa:2048"] if key == "rsa" else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    subprocess.run(["openssl", "req", "-x509", "-newkey", *kind, "-nodes", "-keyout", private, "-out", cert, "-days", days,
                    "-set_serial", str(serial), "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"],
                   check=True, capture_output=True)
    for path in (cert, private):
        os.chmod(path, 0o644)
    return cert, private


def certificates(platform):
    return {entry["name"]: entry for entry in platform.json("certificates")["certificates"]}


def wait_valid(platform, *names, timeout=20):
    return wait_for(lambda: all(certificates(platform).get(name, {}).get("state") == "valid" for name in names)
                    and certificates(platform), timeout, f"certificates of {names}")


def test_the_local_authority_is_trusted_by_real_clients(platform):
    site(platform, "  - {host: a.test, service: site, tls: internal}\n"
                   "  - {host: '*.w.test', service: site, tls: {mode: internal, minVersion: 1.3}}\n"
                   "  - {service: site, tls: internal}\n")
    entries = wait_valid(platform, "a.test", "*.w.test", "")
    assert entries["a.test"]["source"] == "internal" and "Slipway local authority" in entries["a.test"]["issuer"]
    assert entries["a.test"]["next_renewal"] < entries["a.test"]["not_after"]
    ca = trust(platform)
    for host in ("a.test", "x.w.test", "localhost"):
        done = curl(platform, host, ca=ca)
        assert done.returncode == 0 and "200" in done.stdout.splitlines()[0] and "shop" in done.stdout, (host, done)
    shown = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{platform.https_port}", "-servername", "a.test",
                            "-CAfile", ca, "-verify_hostname", "a.test", "-verify_return_error"],
                           input="", capture_output=True, text=True, timeout=20)
    assert "Verify return code: 0 (ok)" in shown.stdout, shown.stdout + shown.stderr
    old = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{platform.https_port}", "-servername", "x.w.test",
                          "-tls1_2"], input="", capture_output=True, text=True, timeout=20)
    assert old.returncode != 0, "minVersion holds"
    # Only this platform's root will do.
    assert curl(platform, "a.test", ca="/etc/ssl/certs/ca-certificates.crt").returncode == 60


def test_only_root_installs_an_authority(platform):
    if not platform.is_dropped():
        pytest.skip("as root it would change this machine")
    done = platform.cli("trust", "--install", check=False)
    assert done.returncode != 0 and "only root" in done.stderr and "HINT: sudo slipway" in done.stderr


def test_plain_requests_go_to_https_once_there_is_a_certificate(platform):
    site(platform, "  - {host: a.test, service: site, tls: {mode: internal, hsts: {maxAge: 365d, includeSubDomains: true}}}\n"
                   "  - {host: b.test, service: site, tls: {mode: internal, redirect: false}}\n"
                   "  - {host: c.test, service: site, tls: {mode: acme}}\n"
                   "acme: {directory: 'http://127.0.0.1:1/directory'}\n")
    wait_valid(platform, "a.test", "b.test")
    status, _, fields = wait_for(lambda: platform.get("/x?y=1", host="a.test")[0] == 308
                                 and platform.get("/x?y=1", host="a.test"), 10, "the redirect")
    assert status == 308 and fields["location"].startswith("https://a.test") and fields["location"].endswith("/x?y=1")
    assert "strict-transport-security" not in fields
    done = curl(platform, "a.test", ca=trust(platform))
    assert "strict-transport-security: max-age=31536000; includesubdomains" in done.stdout.lower(), done.stdout
    assert platform.get("/", host="b.test")[0] == 200
    assert "strict-transport-security" not in curl(platform, "b.test").stdout.lower()
    # No certificate yet: plain HTTP answers on, and everybody can see why.
    assert platform.get("/", host="c.test")[0] == 200
    entry = wait_for(lambda: certificates(platform)["c.test"]["last_error"] and certificates(platform)["c.test"], 60,
                     "the reason is told")
    assert entry["state"] != "valid"
    problems = platform.status()["certificates"]["problems"]
    assert [problem["name"] for problem in problems] == ["c.test"] and problems[0]["reason"]
    assert "c.test" in platform.cli("certificates").stdout and "certificate of c.test" in platform.cli("status").stdout


def test_an_unknown_name_gets_nobodys_certificate(platform):
    site(platform, "  - {host: a.test, service: site, tls: internal}\n")
    wait_valid(platform, "a.test")
    assert handshake(platform, "a.test")
    for name in ("b.test", "x.a.test", "test", None):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            handshake(platform, name)


class Knocking(threading.Thread):
    """Handshakes and requests one after the other, each on a connection of its own."""

    def __init__(self, platform, host):
        super().__init__(daemon=True)
        self.platform, self.host = platform, host
        self.failures, self.serials, self.count, self.is_over = [], [], 0, False

    def run(self):
        while not self.is_over:
            try:
                serial = handshake(self.platform, self.host)
                if serial not in self.serials:
                    self.serials.append(serial)
            except Exception as problem:  # noqa: BLE001 whatever it is, it is one too many
                self.failures.append(repr(problem))
            self.count += 1

    def end(self):
        self.is_over = True
        self.join(30)
        assert not self.failures, (len(self.failures), self.failures[:5])
        return self.count


@contextlib.contextmanager
def knocking(platform, host, threads=3):
    crowd = [Knocking(platform, host) for _ in range(threads)]
    for one in crowd:
        one.start()
    try:
        yield crowd
    finally:
        for one in crowd:
            one.is_over = True
    assert sum(one.end() for one in crowd) > 10


def place(source, target):
    with open(source, "rb") as file:
        content = file.read()
    with open(target, "wb") as file:  # in place, as many tools do: for a moment it is cut short
        file.write(content)


def test_files_are_swapped_live_in_any_order_without_a_failed_handshake(platform):
    folder = os.path.join(platform.base, "tls")
    cert, key = make_pair(folder, "live", 1)
    site(platform, f"  - {{host: a.test, service: site, tls: {{cert: {cert}, key: {key}}}}}\n")
    wait_valid(platform, "a.test")
    assert handshake(platform, "a.test") == 1
    with knocking(platform, "a.test") as crowd:
        for serial in range(2, 6):
            fresh = make_pair(folder, f"new{serial}", serial, key="rsa" if serial == 4 else "ec")
            order = [(fresh[0], cert), (fresh[1], key)]
            if serial % 2:
                order.reverse()
            place(*order[0])
            if serial == 3:  # for longer than it is looked at: the pair before serves
                entry = wait_for(lambda: certificates(platform)["a.test"]["last_error"] and certificates(platform)["a.test"],
                                 10, "the mismatch is told")
                assert entry["state"] == "valid" and "private key" in entry["last_error"]
                assert handshake(platform, "a.test") == 2
            place(*order[1])
            wait_for(lambda: handshake(platform, "a.test") == serial, 15, f"pair {serial} serves")
        assert not certificates(platform)["a.test"]["last_error"]
    assert all(one.serials == sorted(one.serials) for one in crowd), "never back to an old one"


def test_no_handshake_fails_while_control_and_the_signer_are_killed(platform):
    site(platform, "  - {host: a.test, service: site, tls: internal}\n")
    wait_valid(platform, "a.test")
    before = handshake(platform, "a.test")
    with knocking(platform, "a.test") as crowd:
        for _ in range(3):
            platform.kill_role("control")
            time.sleep(0.7)
        wait_valid(platform, "a.test")
        for _ in range(6):
            platform.kill_role("signer")
            time.sleep(0.5)
    assert all(one.serials == [before] for one in crowd)
    platform.stop()
    platform.start()
    assert wait_for(lambda: suppressed(lambda: handshake(platform, "a.test")), 5, "the stored one serves") == before


def suppressed(function):
    with contextlib.suppress(OSError):
        return function()
    return None


def test_what_a_manifest_gets_wrong_is_told_before_anything_runs(platform):
    folder = os.path.join(platform.base, "tls")
    cert, key = make_pair(folder, "good", 1)
    _, other_key = make_pair(folder, "other", 2)
    expired, expired_key = os.path.join(folder, "expired.pem"), os.path.join(folder, "expired.key")
    subprocess.run(f"openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {expired_key} -subj /CN=a.test "
                   f"-out {folder}/e.csr && openssl x509 -req -in {folder}/e.csr -signkey {expired_key} -out {expired} -days -1",
                   shell=True, check=True, capture_output=True)
    os.chmod(expired_key, 0o644)
    secret, secret_key = make_pair(folder, "secret", 3)
    os.chmod(secret_key, 0)

    def refused(tls, *words, more=""):
        with pytest.raises(Failed) as failure:
            site(platform, f"  - {{host: a.test, service: site, {tls}}}\n{more}")
        for word in words:
            assert word in failure.value.stderr + failure.value.stdout, (word, str(failure.value))

    refused(f"tls: {{cert: {folder}/none.pem, key: {key}}}", "none.pem", "routes[0].tls")
    refused(f"tls: {{cert: {cert}, key: {other_key}}}", "is not that of the certificate")
    refused(f"tls: {{cert: {expired}, key: {expired_key}}}", "expired")
    refused(f"tls: {{cert: {secret}, key: {secret_key}}}", "secret.key", "setfacl")
    refused(f"tls: {{cert: {key}, key: {key}}}", "good.key")
    refused("tls: {cert: tls/a.pem, key: /k.pem}", "4:", "not an absolute path")
    refused("tls: {mode: internal}, clientCertificate: /none/ca.pem", "routes[0].clientCertificate.ca", "/none/ca.pem")
    refused("tls: {mode: acme, onDemand: nonsense}", "4:", "begins neither")
    refused("tls: internal", "not a network", more="edge: {trustedProxies: [10.0.0.0/99]}\n")
    assert platform.status()["apps"] == [] or platform.app("shop")["release"] == 0
    # Another app must not say something else of the same host.
    site(platform, "  - {host: a.test, service: site, tls: internal}\n")
    with pytest.raises(Failed) as failure:
        site(platform, "  - {host: a.test, path: /b, service: site, tls: {mode: internal, minVersion: 1.3}}\n", app="second")
    assert "app 'shop' has another" in str(failure.value)
    site(platform, "  - {host: a.test, path: /b, service: site}\n", app="second")


def test_the_word_of_a_responder_is_stapled_and_kept(platform):
    folder, port = os.path.join(platform.base, "tls"), free_port()
    os.makedirs(folder)

    def openssl(*arguments, **more):
        return subprocess.run(["openssl", *arguments], check=True, capture_output=True, text=True, cwd=folder, **more)

    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", "/CN=Test CA",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    openssl("req", "-new", *new_key, "-keyout", "leaf.key", "-out", "leaf.csr", "-subj", "/CN=a.test")
    with open(os.path.join(folder, "leaf.ext"), "w") as file:
        file.write(f"subjectAltName=DNS:a.test\nauthorityInfoAccess=OCSP;URI:http://127.0.0.1:{port}/\n"
                   "authorityKeyIdentifier=keyid\n")
    openssl("x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", "4660", "-days", "20",
            "-extfile", "leaf.ext", "-out", "leaf.pem")
    with open(os.path.join(folder, "chain.pem"), "w") as chain:
        for name in ("leaf.pem", "ca.pem"):
            with open(os.path.join(folder, name)) as part:
                chain.write(part.read())
    with open(os.path.join(folder, "index.txt"), "w") as file:
        file.write("V\t491231235959Z\t\t1234\tunknown\t/CN=a.test\n")
    os.chmod(os.path.join(folder, "leaf.key"), 0o644)

    def stapled():
        shown = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{platform.https_port}", "-servername", "a.test",
                                "-status"], input="", capture_output=True, text=True, timeout=20).stdout
        return "OCSP Response Status: successful" in shown and "Cert Status: good" in shown

    responder = subprocess.Popen(["openssl", "ocsp", "-port", str(port), "-index", "index.txt", "-CA", "ca.pem", "-rsigner", "ca.pem",
                                  "-rkey", "ca.key", "-ndays", "3"], cwd=folder, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert b"ACCEPT" in responder.stdout.readline()
        site(platform, f"  - {{host: a.test, service: site, tls: {{cert: {folder}/chain.pem, key: {folder}/leaf.key}}}}\n")
        wait_valid(platform, "a.test")
        wait_for(stapled, 20, f"the answer is stapled\n{platform.log_text()}")
        assert certificates(platform)["a.test"]["is_stapled"]
    finally:
        responder.kill()
        responder.wait(10)
        responder.stdout.close()
    platform.stop()  # the responder is away: what the store has is stapled
    platform.start()
    wait_for(stapled, 5, "the answer is kept")


def memory_kib(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def test_two_thousand_names_are_served_soon(tmp_path):
    platform = Platform("unprivileged", edges=2)
    try:
        platform.start()
        platform.cli("trust")
        before = {role: memory_kib(platform.role_pids(role)[0]) for role in ("control", "edge", "signer")}
        start = time.monotonic()
        for app in range(4):
            site(platform, "".join(f"  - {{host: n{number}.s{app}.test, service: site, tls: internal}}\n"
                                   for number in range(500)), app=f"shop{app}")
        wait_for(lambda: sum(entry["state"] == "valid" for entry in certificates(platform).values()) == 2000, 120,
                 "2,000 certificates", interval=0.5)
        for name in ("n0.s0.test", "n499.s3.test", "n250.s1.test"):
            wait_for(lambda name=name: suppressed(lambda: handshake(platform, name)), 20, name)
        took = time.monotonic() - start
        after = {role: memory_kib(platform.role_pids(role)[0]) for role in before}
        print(f"2,000 names: {took:.1f} s, KiB of memory before and after: "
              + ", ".join(f"{role} {before[role]} -> {after[role]}" for role in before))
        # One more change with 2,000 certificates in the table is as quick as ever for who waits for it.
        start = time.monotonic()
        site(platform, "  - {host: late.test, service: site, tls: internal}\n", app="late")
        wait_valid(platform, "late.test")
        wait_for(lambda: suppressed(lambda: handshake(platform, "late.test")), 20, "late.test")
        print(f"one more: {time.monotonic() - start:.1f} s")
        assert time.monotonic() - start < 20
    finally:
        platform.close()
