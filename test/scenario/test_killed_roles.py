"""kill -9 of a role at a random moment, under load and in the middle of deploys."""
import http.client
import os
import random
import re
import signal
import statistics
import threading
import time

import pytest
from harness import Platform, modes, wait_for
from loadgen import Load, assert_lossless, make_ledger
from test_lossless import steady

KILLS = int(os.environ.get("SLIPWAY_TEST_KILLS", "50"))

CHATTY = """app: chatty
services:
  talk: {type: worker, start: exec node talk.js}
"""
TALK = """let n = 0;
setInterval(() => { for (let i = 0; i < 20; i++) console.log('line ' + n++); }, 10);
process.on('SIGTERM', () => { console.log('last ' + n); process.exit(0); });
"""


def test_killed_control_and_logd_lose_nothing(platform):
    """Deploys go on beside the kills; each must end, and nobody outside may notice."""
    ledger = make_ledger(platform)
    platform.deploy(steady(platform, "0", ledger))
    platform.deploy(platform.folder("chatty", {"slipway.yaml": CHATTY, "talk.js": TALK}))
    (talker,) = platform.instances("chatty")
    stop, outcomes = threading.Event(), []

    def deploys():
        number = 1
        while not stop.is_set():
            done = platform.cli("deploy", steady(platform, str(number), ledger), check=False)
            outcomes.append((done.returncode, done.stderr))
            number += 1

    with Load(platform) as load:
        thread = threading.Thread(target=deploys)
        thread.start()
        killed = 0
        try:
            while killed < KILLS:
                time.sleep(random.uniform(0.05, 0.6))
                done = platform.cli("status", "--json", check=False)
                if done.returncode != 0:
                    continue
                platform.kill_role(random.choice(["control", "control", "logd"]))
                killed += 1
        finally:
            stop.set()
            thread.join(120)
        assert not thread.is_alive(), "a deploy hangs"
        report = load.finish()
    assert_lossless(report, ledger)
    assert {code for code, _ in outcomes} <= {0, 1, 8}, outcomes

    def settled():
        done = platform.cli("status", "--json", check=False)
        return done.returncode == 0 and all(
            i["state"] == "ready" for a in platform.status()["apps"] for s in a["services"] for i in s["instances"])

    wait_for(settled, 60, "all is settled")
    (same,) = platform.instances("chatty")
    assert (same["pid"], same["restarts"]) == (talker["pid"], talker["restarts"]), "an instance was restarted"
    assert platform.cli("deploy", steady(platform, "end", ledger)).returncode == 0, "deploys go on"
    platform.cli("scale", "chatty", "talk=0")
    time.sleep(2)
    lines = [entry["line"] for entry in platform.log_lines("chatty", "-n", "1000000")]
    numbers = [int(match[1]) for match in (re.fullmatch(r"line (\d+)", line) for line in lines) if match]
    (last,) = [int(line.split()[1]) for line in lines if line.startswith("last ")]
    assert numbers == list(range(last)), f"{last} lines were written, {len(numbers)} are stored"
    wait_for(lambda: len(platform.instances("steady")) == 2, 60, "old instances are gone")


def test_a_killed_edge_is_back_within_200_ms(platform_with_one_edge):
    """With one edge the next request waits in the listener's queue until the new edge takes it, also while control is away."""
    platform = platform_with_one_edge
    platform.deploy(platform.folder("hello", {}, source="hello"))
    waits = []
    for number in range(10):
        if number % 2:
            os.kill(platform.role_pids("control")[0], signal.SIGKILL)
        (edge,) = edge_pids(platform)
        os.kill(edge, signal.SIGKILL)
        began = time.monotonic()
        assert platform.get("/")[:2] == (200, b"hello\n")
        waits.append(round((time.monotonic() - began) * 1000))
        time.sleep(0.3)
    assert statistics.median(waits) <= 200 and max(waits) <= 1000, waits


def test_a_killed_edge_fails_only_its_own_requests(platform):
    """Each client holds one slow request; those of the killed edge break, those of the other one are answered."""
    platform.deploy(steady(platform, "0", make_ledger(platform)))
    clients = [threading.Thread(target=lambda: answers.append(slow(platform))) for _ in range(40)]
    answers = []
    for client in clients:
        client.start()
    wait_for(lambda: sum(i["in_flight"] for i in platform.instances("steady")) == len(clients), 5, "all are in flight",
             interval=0.01)
    victim = platform.role_pids("edge")[0]
    held = len(established(victim))
    os.kill(victim, signal.SIGKILL)
    for client in clients:
        client.join(20)
    assert answers.count(200) >= len(clients) - held and len(answers) == len(clients), (answers, held)
    assert 0 < answers.count(200) < len(clients), "both edges had requests"
    restarts = sum(role["restarts"] for role in platform.status()["roles"] if role["role"] == "edge")
    assert restarts == 1


def slow(platform):
    try:
        return platform.get("/slow?ms=1500")[0]
    except (OSError, http.client.HTTPException) as error:
        return repr(error)


def established(pid):
    """The sockets that a process holds."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            if os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:"):
                found.append(name)
        except OSError:
            pass
    return found


@pytest.fixture(params=modes())
def platform_with_one_edge(request):
    platform = Platform(request.param, edges=1)
    try:
        yield platform.start()
    finally:
        platform.close()


def edge_pids(platform):
    """Read from /proc, as it is faster than a status call."""
    keeper = platform.process.pid
    found = []
    with open(f"/proc/{keeper}/task/{keeper}/children") as children:
        for pid in children.read().split():
            try:
                with open(f"/proc/{pid}/cmdline") as line:
                    if line.read().startswith("slipway: edge"):
                        found.append(int(pid))
            except OSError:
                pass
    return found
