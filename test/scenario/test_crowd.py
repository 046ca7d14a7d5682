"""A crowd of clients does not notice that routes, certificates and the program itself change under it."""
import itertools
import os
import shutil
import subprocess

import harness
from harness import wait_for
from loadgen import Crowd
from test_tls import make_pair

SOCKETS = int(os.environ.get("SLIPWAY_TEST_SOCKETS", "200"))
RATE = int(os.environ.get("SLIPWAY_TEST_RATE", "200"))
CHANGES = int(os.environ.get("SLIPWAY_TEST_CHANGES", "60"))
UPGRADES = 3

MANIFEST = """app: steady
services:
  web:
    start: exec node server.js
    instances: 2
    health: {{path: /, interval: 500ms}}
routes:
  - {{host: app.test, path: /, service: web, tls: {{cert: {cert}, key: {key}, redirect: false}}}}
"""

CHURN = """app: churn
services:
  site: {{type: static, singlePage: true}}
routes:
  - {{host: churn.test, path: /, service: site}}
  - {{host: churn{number}.test, path: /p{number}, service: site}}
"""


def make_certificate(folder, number):
    """A self-signed pair for app.test; every call replaces it, the key by rename first."""
    cert, key = make_pair(folder, "new", 1000 + number, host="app.test")
    pair = {"cert": os.path.join(folder, "app.pem"), "key": os.path.join(folder, "app.key")}
    os.rename(key, pair["key"])
    os.rename(cert, pair["cert"])
    return pair


def served_serial(platform):
    shown = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{platform.https_port}", "-servername", "app.test"],
                           input="", capture_output=True, text=True, timeout=20).stdout
    found = subprocess.run(["openssl", "x509", "-noout", "-serial"], input=shown, capture_output=True, text=True)
    return int(found.stdout.strip().partition("=")[2] or "0", 16)


def weigh(platform):
    """{role: (descriptors, PSS in KiB)}, of the edges the largest."""
    weights = {}
    for role in platform.status()["roles"]:
        if not role["pid"]:
            continue
        with open(f"/proc/{role['pid']}/smaps_rollup") as rollup:
            pss = next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
        fds = len(os.listdir(f"/proc/{role['pid']}/fd"))
        old = weights.get(role["role"], (0, 0))
        weights[role["role"]] = (max(old[0], fds), max(old[1], pss))
    return weights


def binaries(platform):
    """Copies of the program at paths that only its user can write to."""
    for number in itertools.count():
        path = os.path.join(platform.base, f"slipway-{number}")
        shutil.copy2(harness.BINARY, path)
        os.chmod(path, 0o755)
        if platform.is_dropped():
            shutil.chown(path, harness.PLAIN_USER)
        yield path


def test_changes_and_upgrades_are_not_noticed(platform):
    pair = make_certificate(os.path.join(platform.base, "tls"), 0)
    platform.deploy(platform.folder("steady", {"slipway.yaml": MANIFEST.format(**pair)}, source="steady"))
    platform.deploy(platform.folder("churn", {"slipway.yaml": CHURN.format(number=0), "index.html": "here"}))
    wait_for(lambda: served_serial(platform) == 1000, 20, "the first certificate is served")
    pids = sorted(instance["pid"] for instance in platform.instances("steady"))
    copies = binaries(platform)
    before = weigh(platform)
    with Crowd(platform, SOCKETS, RATE) as crowd:
        for number in range(1, CHANGES + 1):
            if number % 2:
                platform.deploy(platform.folder("churn", {"slipway.yaml": CHURN.format(number=number)}))
            else:
                make_certificate(os.path.join(platform.base, "tls"), number)
            if number % (CHANGES // (UPGRADES + 1)) == 0 and number < CHANGES:
                platform.cli("upgrade", next(copies))
        platform.cli("downgrade")
        newest = CHANGES - CHANGES % 2
        wait_for(lambda: served_serial(platform) == 1000 + newest, 20, "the newest certificate is served")
        report = crowd.finish()
    wait_for(lambda: not [role for role in platform.status()["roles"] if role.get("state") == "draining"], 60, "old edges ended")
    after = weigh(platform)
    assert report["failed"] == 0, f"{report['failed']} failures: {report['failures'][:10]}"
    assert report["sockets"] == SOCKETS and report["requests"] > RATE
    assert set(report["statuses"]) == {"200"}
    assert platform.get(f"/p{CHANGES - 1 + CHANGES % 2}/", host=f"churn{CHANGES - 1 + CHANGES % 2}.test")[0] == 200
    assert sorted(instance["pid"] for instance in platform.instances("steady")) == pids, "instances went on"
    for role, (fds, pss) in before.items():
        assert after[role][0] <= fds + 16, f"{role}: {fds} descriptors became {after[role][0]}"
        assert after[role][1] <= pss * 1.5 + 8192, f"{role}: {pss} KiB became {after[role][1]}"
    print({key: report[key] for key in ("requests", "echoes", "p50_ms", "p99_ms", "slowest_ms", "reconnects")}, before, after)
