"""Another binary for the running platform: nothing is lost, and a bad one changes nothing."""
import contextlib
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import harness
import pytest
from harness import BINARY, PLAIN_USER, wait_for
from loadgen import Load, assert_lossless, make_ledger

NEXT = os.environ.get("SLIPWAY_NEXT_BINARY", os.path.join(os.path.dirname(BINARY), "test", "support", "slipway-next"))

MANIFEST = """app: steady
services:
  web:
    start: exec node server.js
    instances: 2
    env: {{RELEASE_MARK: "{mark}", LEDGER: "{ledger}"}}
    health: {{path: /, interval: 500ms}}
    stop: {{grace: 5s, drain: 10s, websocketDrain: {drain}}}
  ticks:
    type: worker
    start: 'i=0; while :; do i=$((i+1)); echo "tick $i"; sleep 0.01; done'
"""

pytestmark = pytest.mark.skipif(not os.path.exists(NEXT), reason="slipway-next is not built")


class Upgrades(harness.Platform):
    """A platform whose binary is a file of its own, with another version beside it."""

    def __init__(self, mode):
        super().__init__(mode)
        self.bin = os.path.join(self.base, "bin")
        os.mkdir(self.bin)
        self.fault_path = os.path.join(self.base, "fault")
        self.environment["SLIPWAY_TEST_FAULT"] = self.fault_path
        self.own = self.put(BINARY, "slipway")
        self.next = self.put(NEXT, "slipway-next")
        if self.is_dropped():
            os.chown(self.bin, pwd.getpwnam(PLAIN_USER).pw_uid, -1)

    def start(self, timeout=30):
        super().start(timeout)
        wait_for(lambda: {entry["state"] for entry in self.status()["roles"]} == {"serving"}, timeout, "all roles serve")
        return self

    def put(self, source, name, mode=0o755):
        """A program below bin/ that the keeper may trust."""
        path = os.path.join(self.bin, name)
        shutil.copyfile(source, path + ".new")
        os.chmod(path + ".new", mode)
        if self.is_dropped():
            os.chown(path + ".new", pwd.getpwnam(PLAIN_USER).pw_uid, -1)
        os.rename(path + ".new", path)
        return path

    def command(self, *arguments):
        command = super().command(*arguments)
        return [self.own if part == BINARY else part for part in command]

    def fault(self, text):
        with open(self.fault_path, "w") as file:
            file.write(text)
        os.chmod(self.fault_path, 0o644)

    def upgrade(self, *arguments, **options):
        return self.cli("upgrade", *arguments, timeout=150, **options)

    def versions(self):
        return {(entry["role"], entry["index"]): entry["version"] for entry in self.status()["roles"]
                if entry["state"] != "draining"}

    def assert_runs(self, version):
        versions = self.versions()
        assert set(versions.values()) == {version}, versions
        assert len([key for key in versions if key[0] == "edge"]) == self.edges, versions
        assert json.loads(self.cli("version", "--json").stdout)["keeper"] == version

    def draining(self):
        return [entry for entry in self.status()["roles"] if entry["state"] == "draining"]

    def steady(self, ledger, mark="0", drain="60s"):
        return self.folder("steady", {"slipway.yaml": MANIFEST.format(mark=mark, ledger=ledger, drain=drain)},
                           source="steady")

    def app_pids(self):
        return sorted(instance["pid"] for instance in self.instances("steady"))


@pytest.fixture(params=harness.modes())
def platform(request):
    platform = Upgrades(request.param)
    try:
        yield platform.start()
    finally:
        platform.close()


@pytest.fixture
def one(request):
    """In the mode that has more to lose."""
    platform = Upgrades(harness.modes()[0])
    try:
        yield platform.start()
    finally:
        platform.close()


def version_of(binary):
    return json.loads(subprocess.run([binary, "version", "--json"], capture_output=True, text=True, check=True,
                                     env={**os.environ, "SLIPWAY_STATE": "/nonexistent"}).stdout)["version"]


OLD, NEW = version_of(BINARY), version_of(NEXT) if os.path.exists(NEXT) else None


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident_kb(pid):
    with open(f"/proc/{pid}/status") as text:
        return int(re.search(r"VmRSS:\s+(\d+)", text.read()).group(1))


def ticks(platform):
    return [int(record["line"].split()[1]) for record in platform.log_lines("steady", "-s", "ticks", "-n", "1000000")
            if record["line"].startswith("tick ")]


class WebSocket:
    """One that only listens, and knows how long it was allowed to."""

    def __init__(self, port, host):
        self.began = time.monotonic()
        self.lifetime = None
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.socket.sendall((f"GET /socket HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                             "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n").encode())
        assert b" 101 " in self.socket.recv(4096).split(b"\r\n")[0]
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def listen(self):
        self.socket.settimeout(120)
        with contextlib.suppress(OSError):
            while self.socket.recv(4096):
                pass
        self.lifetime = time.monotonic() - self.began
        self.socket.close()


def test_three_upgrades_and_a_downgrade_lose_nothing(platform):
    ledger = make_ledger(platform)
    platform.deploy(platform.steady(ledger))
    keeper, apps = platform.role_pids("keeper"), platform.app_pids()
    platform.upgrade(platform.next)
    platform.cli("downgrade", timeout=60)  # what only the first one needs is there now
    wait_for(lambda: not platform.draining(), 20, "the first edges have ended")
    before = descriptors(keeper[0]), resident_kb(keeper[0])
    highest = 4
    with Load(platform) as load:
        for arguments, version in ((("upgrade", platform.next), NEW), (("upgrade", platform.own), OLD),
                                   (("upgrade", platform.next), NEW), (("downgrade",), OLD)):
            platform.cli(*arguments, timeout=60)
            platform.assert_runs(version)
            assert platform.role_pids("keeper") == keeper
            highest = max([highest] + [entry["index"] for entry in platform.status()["roles"]])
        assert platform.draining(), "the WebSockets keep the edges of earlier binaries"
        report = load.finish()
    assert_lossless(report, ledger)
    assert report["echoes"] > 100 and not report["closes"], "no WebSocket was closed"
    assert platform.app_pids() == apps, "the applications did not notice"
    assert all(instance["restarts"] == 0 for instance in platform.instances("steady"))
    wait_for(lambda: not platform.draining(), 20, "with the last client the old edges end")
    seen = ticks(platform)
    assert seen == list(range(1, len(seen) + 1)) and len(seen) > 500, "every line once, in order"
    allowed = before[0] + highest - 4  # the counters of an edge stay for the next one of its number
    wait_for(lambda: descriptors(keeper[0]) <= allowed, 10, "no descriptor is left open")
    assert resident_kb(keeper[0]) < before[1] + 20_000, "memory does not grow"
    guards = [line for _, line in harness.processes_of(platform.state) if "guard" in line]
    assert len(guards) <= 1, guards


def test_without_a_name_what_lies_at_the_start_is_taken(platform):
    platform.put(NEXT, "slipway")  # as a package manager does
    platform.upgrade()
    platform.assert_runs(NEW)
    os.unlink(platform.own)
    platform.own = platform.put(BINARY, "another")
    platform.cli("downgrade")
    platform.assert_runs(OLD)


def test_a_binary_that_cannot_be_trusted_is_refused(platform):
    roles = platform.status()["roles"]
    with open(os.path.join(platform.bin, "text"), "w") as file:
        file.write("#!/bin/sh\nexit 0\n")
    text = platform.put(os.path.join(platform.bin, "text"), "script")
    loose = platform.put(NEXT, "loose", 0o775)
    folder = os.path.join(platform.base, "open")
    os.mkdir(folder)
    os.chmod(folder, 0o777)
    exposed = shutil.copy(platform.next, folder)
    foreign = platform.put(NEXT, "foreign")
    if os.geteuid() == 0:
        os.chown(foreign, 1 if platform.mode == "unprivileged" else 65534, -1)
    cases = [(text, 2, "not a program"), (loose, 4, "may write"), (os.path.join(platform.bin, "none"), 3, "unable to find"),
             (platform.bin, 2, "not a file"), (shutil.which("true"), 2, "cannot take over"),
             (shutil.which("sleep"), 2, "missing operand"), (exposed, 4, "")]
    if os.geteuid() == 0:
        cases.append((foreign, 4, "does not belong"))
    for path, status, words in cases:
        done = platform.upgrade(path, check=False)
        assert done.returncode == status and words in done.stderr and "HINT" in done.stderr, (path, done)
    done = platform.cli("downgrade", check=False)
    assert done.returncode == 3 and "HINT" in done.stderr, done
    assert platform.status()["roles"] == roles, "nothing was touched"


@pytest.mark.parametrize("fault", ["trial 0 crash", "trial 0 exit", "trial 0 hang", "trial 0 newer"])
def test_a_binary_that_fails_its_trial_is_refused(one, fault):
    one.fault(fault)
    roles = one.status()["roles"]
    done = one.upgrade(one.next, check=False)
    assert done.returncode in ((9,) if "newer" in fault else (2, 7)) and "nothing was changed" in done.stderr and "HINT" in done.stderr, done
    assert one.status()["roles"] == roles


@pytest.mark.parametrize("fault", ["edge 500 crash", "control 700 crash", "logd 0 exit", "signer 0 hang", "edge 1500 exit"])
def test_a_binary_whose_role_fails_is_returned_from(one, fault):
    ledger = make_ledger(one)
    one.deploy(one.steady(ledger))
    apps, keeper = one.app_pids(), one.role_pids("keeper")
    one.fault(fault)
    with Load(one) as load:
        done = one.upgrade(one.next, check=False)
        assert done.returncode == 1 and f"returned to {OLD}" in done.stderr and "HINT" in done.stderr, done
        assert f"upgrade to {NEW}: returned" in one.cli("status").stdout
        one.assert_runs(OLD)
        report = load.finish()
    if fault.startswith("edge"):
        # What an edge that crashes had in its hands is lost with it; everyone else goes on.
        assert report["requests"] > 50 * report["failed"], report["failures"]
    else:
        assert_lossless(report, ledger)
    assert one.app_pids() == apps and one.role_pids("keeper") == keeper
    seen = ticks(one)
    assert seen == list(range(1, len(seen) + 1))
    os.unlink(one.fault_path)
    one.upgrade(one.next)  # and a good one is taken afterwards
    one.assert_runs(NEW)


@pytest.mark.parametrize("fault", ["keeper 0 crash", "keeper 0 hang"])
def test_a_binary_that_cannot_take_over_gives_the_keeper_back(platform, fault):
    ledger = make_ledger(platform)
    platform.deploy(platform.steady(ledger))
    apps = platform.app_pids()
    platform.fault(fault)
    with Load(platform) as load:
        done = platform.upgrade(platform.next, check=False)
        assert done.returncode == 1 and "could not take over" in done.stderr, done
        platform.assert_runs(OLD)
        report = load.finish()
    assert_lossless(report, ledger)
    assert platform.app_pids() == apps


def test_control_killed_in_the_middle_is_no_reason_to_return_unless_again(one):
    def kill_control(times):
        for _ in range(times):
            wait_for(lambda: [entry for entry in one.status()["roles"]
                              if entry["role"] == "control" and entry["version"] == NEW and
                              entry["state"] == "serving"], 20, "the new control serves")
            one.kill_role("control")

    for times, status, version in ((1, 0, NEW), (2, 1, OLD)):
        if times == 2:
            one.cli("downgrade")
        thread = threading.Thread(target=kill_control, args=(times,))
        thread.start()
        done = one.upgrade(one.next, check=False)
        thread.join(30)
        assert done.returncode == status, (times, done)
        one.assert_runs(version)


def test_it_waits_for_no_deploy_and_says_so(one):
    ledger = make_ledger(one)
    folder = one.steady(ledger)
    with open(os.path.join(folder, "slipway.yaml"), "a") as manifest:
        manifest.write("  late: {type: worker, build: sleep 4, start: sleep 1000}\n")
    one.deploy(folder, "--detach")
    done = one.upgrade(one.next, check=False)
    assert done.returncode == 5 and "deploy 1" in done.stderr and "HINT" in done.stderr, done
    wait_for(lambda: one.app("steady")["state"] == "live", 60, "the deploy went on")
    one.upgrade(one.next)
    one.assert_runs(NEW)


def test_websockets_have_their_time_and_no_more(one):
    ledger = make_ledger(one)
    one.deploy(one.steady(ledger, drain="32s"))
    sockets = [WebSocket(one.port, "app.test") for _ in range(4)]
    one.upgrade(one.next)
    ended = time.monotonic()
    time.sleep(28)
    assert all(each.lifetime is None for each in sockets), "not before their deadline"
    wait_for(lambda: all(each.lifetime is not None for each in sockets), 15, "nor long after it")
    assert time.monotonic() - ended > 30
    wait_for(lambda: not one.draining(), 10, "the edges that had them are gone")


def test_a_deploy_while_old_edges_drain_is_as_lossless_as_ever(platform):
    ledger = make_ledger(platform)
    platform.deploy(platform.steady(ledger, drain="8s"))
    with Load(platform) as load:
        sockets = [WebSocket(platform.port, "app.test") for _ in range(6)]
        platform.upgrade(platform.next)
        assert platform.draining()
        began = time.monotonic()
        platform.deploy(platform.steady(ledger, mark="1", drain="8s"))
        wait_for(lambda: not platform.draining(), 25, "the WebSockets ended with their instances, and the edges with them")
        assert time.monotonic() - began >= 7.5, "and had their time: control waited for the old edges, too"
        report = load.finish()
    assert_lossless(report, ledger)
    assert report["closes"] == {"1001": len(report["lifetimes"])} and report["lifetimes"], "the application closed them"
    assert all(each.lifetime > 8 for each in sockets)


def test_of_two_upgrades_at_once_one_is_refused(one):
    first = subprocess.Popen(one.command("upgrade", "--state", one.state, one.next), env=one.environment,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: one.status()["upgrade"]["state"] == "watching", 30, "it is under way")
    done = one.cli("downgrade", check=False)
    assert done.returncode == 5 and "under way" in done.stderr and "HINT" in done.stderr, done
    assert first.wait(60) == 0
    one.assert_runs(NEW)


def test_ctrl_c_ends_the_following_and_not_the_upgrade(one):
    following = subprocess.Popen(one.command("upgrade", "--state", one.state, one.next), env=one.environment,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: one.status()["upgrade"]["state"] == "watching", 30, "it is under way")
    following.send_signal(signal.SIGINT)
    assert "goes on" in following.communicate(timeout=10)[1] and following.returncode == 130
    wait_for(lambda: one.status()["upgrade"]["state"] == "done", 60, "it is done")
    one.assert_runs(NEW)


def test_the_guard_of_the_new_keeper_clears_up_after_it(platform):
    ledger = make_ledger(platform)
    platform.deploy(platform.steady(ledger))
    platform.upgrade(platform.next)
    os.kill(platform.role_pids("keeper")[0], signal.SIGKILL)
    platform.process.wait(10)
    wait_for(lambda: not platform.processes(), 20, "nothing of the platform is left")
    platform.start()
    wait_for(lambda: platform.app("steady")["state"] == "live", 60, "the app runs again")
    assert platform.status()["roles"][0]["version"] == OLD, "from where it was started"


def test_the_platform_stops_in_the_middle_of_an_upgrade(one):
    ledger = make_ledger(one)
    one.deploy(one.steady(ledger))
    asked = subprocess.Popen(one.command("upgrade", "--state", one.state, one.next), env=one.environment,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: one.status()["upgrade"]["state"] in ("replacing", "watching"), 20, "it is under way")
    one.process.send_signal(signal.SIGTERM)
    assert asked.wait(90) != 0
    one.stop()
    one.start()
    wait_for(lambda: one.app("steady")["state"] == "live", 60, "the app runs again")
