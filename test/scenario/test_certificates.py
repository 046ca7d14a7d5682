"""What people are told of certificates, and certificates whose surroundings change: hosts, routes, files, authorities."""
import datetime
import http.server
import os
import shutil
import subprocess
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp
from harness import Failed, Platform, modes, wait_for
from test_tls import certificates, handshake, make_pair, site, wait_valid


def pair(platform, name, host, **more):
    return make_pair(os.path.join(platform.base, "tls"), name, 7, host=host, **more)


def deploy(platform, routes, app="shop"):
    return platform.deploy(site(platform, routes, app=app, deploy=False))


def test_a_certificate_for_another_host_is_told_at_the_deploy_and_served(platform):
    cert, key = pair(platform, "other", "b.test")
    wild, wild_key = pair(platform, "wild", "*.w.test")
    done = deploy(platform, f"  - {{host: a.test, service: site, tls: {{cert: {cert}, key: {key}}}}}\n"
                            f"  - {{host: a.test, path: /more, service: site, tls: {{cert: {cert}, key: {key}}}}}\n"
                            f"  - {{host: x.w.test, service: site, tls: {{cert: {wild}, key: {wild_key}}}}}\n"
                            f"  - {{service: site, tls: {{cert: {wild}, key: {wild_key}}}}}\n")
    told = [line for line in (done.stdout + done.stderr).splitlines() if "is not for" in line]
    assert len(told) == 1, done.stdout + done.stderr
    for word in (cert, "not for a.test", "is for: b.test", "tls: acme"):
        assert word in told[0], (word, told)
    wait_valid(platform, "a.test")
    assert handshake(platform, "a.test") == 7
    done = deploy(platform, f"  - {{host: b.test, service: site, tls: {{cert: {cert}, key: {key}}}}}\n")
    assert "is not for" not in done.stdout + done.stderr


def addresses(platform, done):
    """host -> URL without the port, of what a deploy printed."""
    urls = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  http")]
    return {url.split("://")[1].split("/")[0].split(":")[0]: url.split("://")[0] for url in urls}


def test_a_deploy_prints_the_addresses_that_the_routes_really_have(platform):
    wild, wild_key = pair(platform, "wild", "*.w.test")
    site(platform, "  - {host: a.test, service: site, tls: internal}\n"
                   f"  - {{host: '*.w.test', service: site, tls: {{cert: {wild}, key: {wild_key}}}}}\n"
                   "  - {service: site, tls: internal}\n", app="first")
    wait_valid(platform, "a.test", "*.w.test", "")
    done = deploy(platform, "  - {host: a.test, path: /second, service: site}\n"
                            "  - {host: b.w.test, service: site}\n"
                            "  - {host: c.w.test, service: site, tls: 'off'}\n"
                            "  - {host: b.c.w.test, service: site}\n"
                            "  - {host: d.test, service: site}\n"
                            "  - {path: /second, service: site}\n", app="second")
    assert addresses(platform, done) == {"a.test": "https", "b.w.test": "https", "c.w.test": "http", "b.c.w.test": "http",
                                         "d.test": "http", "127.0.0.1": "https"}, done.stdout
    assert handshake(platform, "b.w.test") == 7


def test_a_file_that_may_not_be_read_comes_with_words_to_let_the_platform_in(platform):
    cert, key = pair(platform, "closed", "a.test")
    os.chmod(key, 0)
    with pytest.raises(Failed) as failure:
        deploy(platform, f"  - {{host: a.test, service: site, tls: {{cert: {cert}, key: {key}}}}}\n")
    hint = next(line for line in failure.value.stderr.splitlines() if "setfacl" in line)
    assert "runs as the user '" in hint and f":r '{key}'" in hint and hint.rstrip().endswith("closed to others"), hint
    user = hint.split("the user '")[1].split("'")[0]
    assert not user.isdigit() and f"setfacl -m u:{user}:r" in hint, hint


class Responder(http.server.BaseHTTPRequestHandler):
    """Good, for so many seconds; one answer, then none."""
    seconds, count = 5, 0
    certificate = key = None

    def log_message(self, *arguments):
        pass

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        type(self).count += 1
        now = datetime.datetime.utcnow()
        body = b"" if self.count > 1 else ocsp.OCSPResponseBuilder().add_response(
            self.certificate, self.certificate, hashes.SHA1(), ocsp.OCSPCertStatus.GOOD, now - datetime.timedelta(hours=1),
            now + datetime.timedelta(seconds=self.seconds), None, None,
        ).responder_id(ocsp.OCSPResponderEncoding.HASH, self.certificate).sign(
            self.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
        self.send_response(200 if body else 500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def test_an_answer_of_a_responder_that_is_over_is_not_stapled(platform):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Responder)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    folder = os.path.join(platform.base, "tls")
    os.makedirs(folder)
    cert, key = os.path.join(folder, "chain.pem"), os.path.join(folder, "leaf.key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
                    "-out", cert, "-days", "3", "-subj", "/CN=a.test", "-addext", "subjectAltName=DNS:a.test",
                    "-addext", f"authorityInfoAccess=OCSP;URI:http://127.0.0.1:{server.server_address[1]}/"],
                   check=True, capture_output=True)
    os.chmod(key, 0o644)
    with open(cert, "rb") as file:
        pem = file.read()
    with open(cert, "ab") as file:  # its own authority
        file.write(pem)
    Responder.certificate = x509.load_pem_x509_certificate(pem)
    with open(key, "rb") as file:
        Responder.key = serialization.load_pem_private_key(file.read(), None)
    Responder.count = 0

    def is_stapled():
        return "OCSP Response Status: successful" in subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{platform.https_port}", "-servername", "a.test", "-status"],
            input="", capture_output=True, text=True, timeout=20).stdout
    try:
        site(platform, f"  - {{host: a.test, service: site, tls: {{cert: {cert}, key: {key}}}}}\n")
        wait_for(is_stapled, 15, f"the answer is stapled\n{platform.log_text()}")
        wait_for(lambda: not is_stapled(), 15, "what is over is stapled no more")
        assert not certificates(platform)["a.test"]["is_stapled"]
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="the host name is to be another one")
def test_the_local_authority_is_made_on_a_machine_with_a_long_name():
    name = "ip-10-200-100-250.eu-central-1.compute.internal.example.org"
    platform = Platform(modes()[0], wrapper=["unshare", "--uts", "sh", "-c", f'hostname {name}; exec "$0" "$@"'])
    try:
        platform.start()
        site(platform, "  - {host: a.test, service: site, tls: internal}\n  - {service: site, tls: internal}\n")
        entries = wait_valid(platform, "a.test", "")
        assert "ip-10-200-100-250" in entries["a.test"]["issuer"] and name in entries[""]["names"]
    finally:
        platform.close()
