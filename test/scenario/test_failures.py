"""Each thing that goes wrong leaves the old release serving, and a message that a person can act on."""
import os
import subprocess
import time

import pytest
from harness import is_running, wait_for

GOOD = """app: web
services:
  web:
    start: exec node server.js
    health: {path: /, interval: 200ms, startTimeout: 4s}
    stop: {grace: 1s, drain: 2s}
"""
SERVER = ("require('http').createServer((q, r) => r.end('good\\n'))"
          ".listen(process.env.PORT, '127.0.0.1');\n")


@pytest.fixture
def good(platform):
    """A live release 1 and its folder."""
    folder = platform.folder("web", {"slipway.yaml": GOOD, "server.js": SERVER})
    platform.deploy(folder)
    return folder


def change(folder, **files):
    for name, text in files.items():
        with open(os.path.join(folder, name.replace("_", ".")), "w") as file:
            file.write(text)


def fails(platform, folder, *words, seconds=30):
    """A deploy that must end with status 1, say all `words`, and leave release 1 serving."""
    began = time.monotonic()
    done = platform.deploy(folder, check=False)
    text = done.stdout + done.stderr
    assert done.returncode == 1, text
    assert time.monotonic() - began < seconds
    for word in words:
        assert word in text, f"'{word}' is not in:\n{text}"
    assert platform.get("/")[:2] == (200, b"good\n")
    assert platform.app("web")["release"] == 1
    latest = platform.json("releases", "web")["releases"][0]
    assert latest["state"] in ("failed", "rolled_back") and latest["reason"]
    return text


def test_a_broken_build(platform, good):
    change(good, slipway_yaml=GOOD.replace("start:", "build: echo compiling; echo no such header >&2; exit 3\n    start:"))
    fails(platform, good, "build", "3", "no such header", "HINT")


def test_a_crash_at_start_fails_at_once(platform, good):
    change(good, server_js="console.error('cannot find the answer'); process.exit(7);\n")
    began = time.monotonic()
    fails(platform, good, "7", "cannot find the answer")
    assert time.monotonic() - began < 4, "it does not wait for the start timeout"


def test_a_port_that_is_never_bound(platform, good):
    change(good, server_js="console.log('idling'); setInterval(() => {}, 1000);\n")
    fails(platform, good, "idling", "refused", "PORT")


def test_a_health_check_that_fails(platform, good):
    change(good, server_js="require('http').createServer((q, r) => { r.statusCode = 500; r.end('database is away'); })"
                           ".listen(process.env.PORT, '127.0.0.1');\n")
    fails(platform, good, "500", "database is away")


def test_a_migration_that_fails(platform, good):
    change(good, slipway_yaml=GOOD.replace("start:", "preDeploy: echo column exists; exit 9\n    start:"))
    fails(platform, good, "preDeploy", "9", "column exists")


def test_a_process_that_ignores_sigterm(platform, good):
    change(good, server_js="process.on('SIGTERM', () => {});\n" + SERVER.replace("good", "stubborn"))
    platform.deploy(good)
    (old,) = platform.instances("web")
    change(good, server_js=SERVER)
    platform.deploy(good)
    assert platform.get("/")[1] == b"good\n"
    wait_for(lambda: not is_running(old["pid"]), 10, "it was killed after its grace")


def test_a_grandchild_is_no_orphan(platform, good):
    change(good, server_js="const c = require('child_process').spawn('setsid', ['sleep', '3600'], {detached: true, stdio: 'ignore'});"
                           "c.unref(); console.log('grandchild ' + c.pid);\n" + SERVER)
    platform.deploy(good)
    (line,) = wait_for(lambda: [e["line"] for e in platform.log_lines("web") if "grandchild" in e["line"]], 10, "its pid")
    pid = int(line.split()[1])
    change(good, server_js=SERVER)
    platform.deploy(good)
    wait_for(lambda: not is_running(pid), 20, "the grandchild ended with its instance")


def test_a_crashing_instance_is_restarted_then_left_in_a_clear_state(platform, good):
    change(good, server_js=SERVER + "setTimeout(() => process.exit(1), 300);\n",
           slipway_yaml=GOOD + "    restart: {maxRestarts: 3, backoff: 50ms..200ms}\n")
    platform.deploy(good)
    wait_for(lambda: [i["state"] for i in platform.instances("web")] == ["crash_loop"], 30, "crash_loop")
    assert platform.get("/")[0] == 503


def test_a_wedged_instance_leaves_the_rotation_and_is_restarted(platform, good):
    change(good, slipway_yaml=GOOD.replace("interval: 200ms", "interval: 100ms, timeout: 300ms, unhealthyAfter: 2, restartAfter: 4"),
           server_js="let sick = false; require('http').createServer((q, r) => { if (q.url === '/sick') sick = true;"
                     "if (sick && q.url === '/') return; r.end('good\\n'); }).listen(process.env.PORT, '127.0.0.1');\n")
    platform.deploy(good)
    (before,) = platform.instances("web")
    platform.get("/sick")
    wait_for(lambda: [i["pid"] for i in platform.instances("web") if i["state"] == "ready"] not in ([], [before["pid"]]),
             30, "another process serves")
    assert platform.get("/")[0] == 200


def test_a_full_disk(platform):
    """Too little space is refused before anything is written."""
    if platform.mode != "root":
        pytest.skip("mounting a small file system needs root")
    platform.stop()
    os.makedirs(platform.state, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=755", "tmpfs", platform.state], check=True)
    try:
        platform.environment["SLIPWAY_DISK_RESERVE"] = "4M"
        platform.start()
        folder = platform.folder("web", {"slipway.yaml": GOOD, "server.js": SERVER})
        platform.deploy(folder)
        with open(os.path.join(folder, "large.bin"), "wb") as file:
            file.write(os.urandom(60 * 1024 * 1024))
        done = platform.deploy(folder, check=False)
        assert done.returncode in (1, 6) and "space" in done.stdout + done.stderr, done.stdout + done.stderr
        os.unlink(os.path.join(folder, "large.bin"))
        change(folder, slipway_yaml=GOOD.replace("start:", "build: head -c 100M /dev/zero > fill\n    start:"))
        done = platform.deploy(folder, check=False)
        assert done.returncode == 1 and "No space left" in done.stdout + done.stderr, done.stdout + done.stderr
        assert platform.get("/")[:2] == (200, b"good\n")
        change(folder, slipway_yaml=GOOD)
        platform.deploy(folder)
        assert platform.get("/")[:2] == (200, b"good\n")
        platform.stop()
    finally:
        subprocess.run(["umount", "-l", platform.state], check=False)


def test_a_cancelled_deploy(platform, good):
    change(good, slipway_yaml=GOOD.replace("start:", "build: sleep 300\n    start:"))
    process = subprocess.Popen(platform.command("deploy", "--state", platform.state, good), env=platform.environment,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=platform.base)
    try:
        wait_for(lambda: any("sleep 300" in line for _, line in platform.processes()), 20, "the build runs")
        platform.cli("cancel", "web")
        out, _ = process.communicate(timeout=20)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert process.returncode == 1 and "cancel" in out
    assert platform.get("/")[:2] == (200, b"good\n")
    wait_for(lambda: not any("sleep 300" in line for _, line in platform.processes()), 10, "the build is gone")
