"""The TLS that a route with HSTS gives, as testssl.sh sees it."""
import json
import os
import shutil
import subprocess

from harness import Platform, modes, wait_for
from test_crowd import served_serial

MANIFEST = """app: site
services:
  site: {{type: static}}
routes:
  - {{host: app.test, path: /, service: site, tls: {{cert: {cert}, key: {key}, hsts: 365d}}}}
"""

EXTENSIONS = """basicConstraints=CA:FALSE
keyUsage=digitalSignature
extendedKeyUsage=serverAuth
subjectAltName=DNS:app.test
crlDistributionPoints=URI:http://127.0.0.1/none.crl
"""


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)


def make_authority_and_leaf(folder):
    """A root, and a leaf for app.test that looks as one of a public authority does."""
    os.makedirs(folder)
    at = {name: os.path.join(folder, name) for name in ("ca.key", "ca.crt", "app.key", "app.csr", "app.crt", "app.ext")}
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *curve, "-keyout", at["ca.key"], "-out", at["ca.crt"], "-days", "365", "-subj", "/CN=test authority",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    openssl("req", *curve, "-keyout", at["app.key"], "-out", at["app.csr"], "-subj", "/CN=app.test")
    with open(at["app.ext"], "w") as file:
        file.write(EXTENSIONS)
    openssl("x509", "-req", "-in", at["app.csr"], "-CA", at["ca.crt"], "-CAkey", at["ca.key"], "-set_serial", "4711", "-days", "80",
            "-extfile", at["app.ext"], "-out", at["app.crt"])
    os.chmod(at["app.key"], 0o644)
    return at


def test_testssl_finds_nothing_above_low(tmp_path):
    platform = Platform(modes()[0])
    try:
        platform.start()
        at = make_authority_and_leaf(os.path.join(platform.base, "tls"))
        platform.deploy(platform.folder("site", {"slipway.yaml": MANIFEST.format(cert=at["app.crt"], key=at["app.key"]),
                                                 "index.html": "here"}))
        wait_for(lambda: served_serial(platform) == 4711, 20, "the certificate is served")
        report = tmp_path / "report.json"
        done = subprocess.run([shutil.which("testssl"), "--quiet", "--color", "0", "--warnings", "batch", "--nodns", "none",
                               "--ip", "127.0.0.1", "--add-ca", at["ca.crt"], "--jsonfile", str(report),
                               f"https://app.test:{platform.https_port}/"],
                              capture_output=True, text=True, timeout=400, stdin=subprocess.DEVNULL)
        findings = json.loads(report.read_text())
    finally:
        platform.close()
    grave = [f"{entry['id']}: {entry['severity']}: {entry['finding']}" for entry in findings
             if entry["severity"] in ("MEDIUM", "HIGH", "CRITICAL", "FATAL")]
    assert not grave, "\n".join(grave) + done.stdout[-2000:]
    said = {entry["id"]: entry["finding"] for entry in findings}
    # Newer testssl.sh than Debian's gives a grade; what A+ stands for is looked at in any case.
    assert said.get("overall_grade", "A+") == "A+"
    assert "not offered" in said["TLS1"] and "not offered" in said["TLS1_1"], said
    assert "offered" in said["TLS1_2"] and "offered" in said["TLS1_3"]
    assert said.get("PFS", said.get("FS", "")).startswith("offered") and said["cert_trust"].startswith("Ok"), said
    assert said["HSTS_time"].startswith("365 days"), said["HSTS_time"]
    ciphers = [text for name, text in said.items() if name.startswith(("cipher_x", "cipher-"))]
    assert ciphers and all("ECDH" in text and ("GCM" in text or "ChaCha20" in text) for text in ciphers), ciphers
