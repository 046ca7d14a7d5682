"""Deploys and rollbacks under constant mixed load lose nothing."""
import json
import os

import pytest
from harness import wait_for
from loadgen import Load, assert_lossless, make_ledger

DEPLOYS = int(os.environ.get("SLIPWAY_TEST_DEPLOYS", "200"))

MANIFEST = """app: steady
services:
  web:
    start: exec node server.js
    instances: 2
    env: {{RELEASE_MARK: "{mark}", LEDGER: "{ledger}"}}
    health: {{path: /, interval: 500ms}}
    stop: {{grace: 5s, drain: 10s, websocketDrain: 1s}}
    deploy: {{maxSurge: 2}}
"""


def steady(platform, mark, ledger):
    return platform.folder("steady", {"slipway.yaml": MANIFEST.format(mark=mark, ledger=ledger)}, source="steady")


def test_many_deploys_and_rollbacks_lose_nothing(platform):
    ledger = make_ledger(platform)
    platform.deploy(steady(platform, "0", ledger))
    with Load(platform) as load:
        for number in range(1, DEPLOYS):
            if number % 4 == 3:
                platform.cli("rollback", "steady")
            else:
                platform.deploy(steady(platform, str(number), ledger))
        report = load.finish()
    assert_lossless(report, ledger)
    assert len(report["releases"]) > min(DEPLOYS, 100) / 4, "the load saw the releases change"
    assert report["closes"].get("1001", 0) > 0, "WebSockets of old instances were closed by their application"
    wait_for(lambda: len(platform.instances("steady")) == 2, 30, "old instances are gone")
    folder = os.path.join(platform.state, "apps", "steady", "releases")
    wait_for(lambda: len([entry for entry in os.listdir(folder) if entry.isdigit()]) <= 5, 30, "old releases are removed")


def test_websockets_of_the_old_release_live_until_their_drain_time(platform):
    ledger = make_ledger(platform)
    folder = steady(platform, "old", ledger)
    text = MANIFEST.format(mark="old", ledger=ledger).replace("websocketDrain: 1s", "websocketDrain: 4s")
    platform.folder("steady", {"slipway.yaml": text})
    platform.deploy(folder)
    with Load(platform) as load:
        wait_for(lambda: sum(i["in_flight"] for i in platform.instances("steady")) >= 0, 5, "load runs")
        platform.folder("steady", {"slipway.yaml": text.replace('"old"', '"new"')})
        platform.deploy(folder)
        assert json.loads(platform.get("/")[1])["release"] == "new"
        wait_for(lambda: len(platform.instances("steady")) == 2, 30, "the old instances ended")
        report = load.finish()
    assert_lossless(report, ledger)
    assert report["lifetimes"] and min(report["lifetimes"]) >= 3.5, report["lifetimes"]


@pytest.mark.parametrize("verb", [("restart", "steady"), ("scale", "steady", "web=4"), ("scale", "steady", "web=1")])
def test_restart_and_scale_lose_nothing(platform, verb):
    ledger = make_ledger(platform)
    platform.deploy(steady(platform, "0", ledger))
    with Load(platform) as load:
        platform.cli(*verb)
        wait_for(lambda: all(i["state"] == "ready" for i in platform.instances("steady")), 30, "settled")
        report = load.finish()
    assert_lossless(report, ledger)
