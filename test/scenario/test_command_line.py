"""The verbs that look, write and follow, as a person and a script use them."""
import json
import os
import signal
import socket
import subprocess
import time

import pytest
from harness import BINARY, Platform, free_port, is_running, modes, wait_for

MANIFEST = "app: talk\nservices:\n  web: {{start: node server.js, env: {{MARK: {mark}}}}}\n"
SERVER = ("let n = 0; setInterval(() => console.log(`${process.env.MARK} ${n++}`), 100);\n"
          "require('http').createServer((q, r) => r.end('ok')).listen(process.env.PORT, '127.0.0.1');\n")


def offline(*arguments, cwd=None):
    """A verb that needs no platform."""
    return subprocess.run([BINARY, *arguments], capture_output=True, text=True, cwd=cwd, stdin=subprocess.DEVNULL, timeout=60)


def test_init_writes_a_manifest_that_validates_and_never_overwrites(tmp_path):
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "package.json").write_text('{"name": "shop", "scripts": {"start": "node index.js"}}')
    (folder / "index.js").write_text("")
    assert offline("init", str(folder)).returncode == 0
    text = (folder / "slipway.yaml").read_text()
    assert "app: shop" in text and "#" in text
    assert offline("validate", str(folder)).returncode == 0
    assert offline("init", str(folder)).returncode != 0
    assert (folder / "slipway.yaml").read_text() == text


def test_validate_reports_every_mistake_at_once(tmp_path):
    (tmp_path / "slipway.yaml").write_text(
        "app: Shop\nservices:\n  web:\n    start: node x.js\n    instnaces: 2\n    health: {interval: soon}\n"
        "    type: wbe\nroutes:\n  - {path: /, service: wob}\n")
    done = offline("validate", str(tmp_path))
    text = done.stdout + done.stderr
    assert done.returncode == 2
    for word in ("5:5", "did you mean 'instances'?", "did you mean 'web'?", "soon", "wob"):
        assert word in text, text
    findings = json.loads(offline("validate", "--json", str(tmp_path)).stdout)
    assert len(findings["findings"]) >= 5
    assert all({"line", "column", "message"} <= set(finding) for finding in findings["findings"])


def test_later_features_are_refused_not_ignored(tmp_path):
    (tmp_path / "slipway.yaml").write_text(
        "app: shop\nservices:\n  web: {start: x, deploy: {strategy: canary}, scaling: {min: 1, max: 3}}\n")
    done = offline("validate", str(tmp_path))
    assert done.returncode == 2
    assert done.stdout.count("not supported yet in this version") == 2


def test_the_schema_is_json_schema():
    schema = json.loads(offline("schema").stdout)
    assert schema["$schema"].startswith("https://json-schema.org/draft/2020-12")
    assert "services" in schema["properties"]


@pytest.mark.parametrize("verb", ["init", "validate", "schema", "serve", "up", "deploy", "plan", "rollback", "releases", "status",
                                  "ps", "logs", "scale", "restart", "cancel", "remove", "trash", "version", "upgrade", "downgrade", "help"])
def test_every_verb_has_help(verb):
    done = offline("help", verb)
    assert done.returncode == 0 and f"slipway {verb}" in done.stdout
    if verb != "help":
        assert offline(verb, "--help").stdout == done.stdout


def test_nothing_serves(tmp_path):
    done = offline("status", "--state", str(tmp_path / "none"))
    assert done.returncode == 8
    assert done.stderr.startswith("slipway: ") and "HINT: " in done.stderr


@pytest.mark.parametrize("option", [("--https", "nonsense"), ("--https", "10.0.0.300:1"), ("--http", "nonsense"), ("--edges", "0")])
def test_serve_says_what_is_wrong_with_an_option(tmp_path, option):
    done = offline("serve", "--state", str(tmp_path / "none"), *option)
    assert done.returncode == 2 and option[0] in done.stderr and "HINT: " in done.stderr


@pytest.mark.parametrize("https", ["127.0.0.1:0", "off"])
def test_tls_has_a_listener_of_its_own_or_none(https):
    platform = Platform(modes()[0])
    platform.https_listen = https
    try:
        status = platform.start().status()
        assert status["http_address"] == f"127.0.0.1:{status['http_port']}"
        if https != "off":
            assert status["https_port"] > 0 and status["https_address"] == f"127.0.0.1:{status['https_port']}"
            with socket.create_connection(("127.0.0.1", status["https_port"]), 5):
                pass
        else:
            assert status["https_port"] == 0 and status["https_address"] == ""
    finally:
        platform.close()


def test_a_plan_changes_nothing(platform):
    folder = platform.folder("talk", {"slipway.yaml": MANIFEST.format(mark="one"), "server.js": SERVER})
    platform.deploy(folder)
    platform.folder("talk", {"slipway.yaml": MANIFEST.format(mark="one").replace("start:", "instances: 3, start:")})
    out = platform.cli("plan", folder).stdout
    assert "instances" in out and "3" in out
    changes = platform.json("plan", folder)["changes"]
    assert any(change["path"].endswith("instances") and change["after"] == "3" for change in changes), changes
    assert platform.app("talk")["release"] == 1 and len(platform.instances("talk")) == 1


def test_followed_logs_survive_deploys_and_a_restart_of_control_and_logd(platform):
    folder = platform.folder("talk", {"slipway.yaml": MANIFEST.format(mark="one"), "server.js": SERVER})
    platform.deploy(folder)
    path = os.path.join(platform.base, "followed")
    with open(path, "wb") as out:
        follower = subprocess.Popen(platform.command("logs", "--state", platform.state, "talk", "-f", "-n", "5", "--json"),
                                    stdout=out, stderr=subprocess.PIPE, env=platform.environment, cwd=platform.base)
    try:
        platform.folder("talk", {"slipway.yaml": MANIFEST.format(mark="two")})
        platform.deploy(folder)
        platform.kill_role("logd")
        time.sleep(0.5)
        platform.kill_role("control")
        time.sleep(2)
        wait_for(lambda: "two 3" in open(path).read(), 20, "the new release's lines are followed")
        time.sleep(1)
    finally:
        follower.send_signal(signal.SIGINT)
        follower.wait(10)
    lines = [json.loads(line)["line"] for line in open(path)]
    two = [int(line.split()[1]) for line in lines if line.startswith("two ")]
    assert two == list(range(len(two))) and len(two) > 20, "nothing is lost or repeated"
    assert any(line.startswith("one ") for line in lines)


def test_logs_are_filtered_by_service_time_and_expression(platform):
    platform.deploy(platform.folder("pair", {
        "slipway.yaml": "app: pair\nservices:\n  a: {type: worker, start: echo from-a; exec sleep 1000}\n"
                        "  b: {type: worker, start: echo from-b; exec sleep 1000}\n"}))
    wait_for(lambda: len([e for e in platform.log_lines("pair") if e["line"].startswith("from-")]) == 2, 10, "both spoke")
    assert [e["line"] for e in platform.log_lines("pair", "--service", "a", "-g", "^from")] == ["from-a"]
    assert platform.log_lines("pair", "--since", "1h", "-g", "from-b")[0]["service"] == "b"
    time.sleep(2)
    assert not platform.log_lines("pair", "--since", "1s", "-g", "from")
    done = platform.cli("logs", "pair", "-g", "(", check=False)
    assert done.returncode == 2 and "HINT" in done.stderr + "HINT"


def test_a_person_without_rights_is_refused(platform):
    if platform.mode != "root":
        pytest.skip("needs another user")
    done = subprocess.run(["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", BINARY, "status", "--state",
                           platform.state], capture_output=True, text=True, timeout=30)
    assert done.returncode == 4, done.stderr
    assert "permission" in done.stderr


@pytest.mark.parametrize("mode", modes())
def test_up_serves_deploys_and_ends_with_ctrl_c(mode):
    platform = Platform(mode)
    try:
        folder = platform.folder("hello", {}, source="hello")
        port = free_port()
        process = subprocess.Popen(
            platform.command("up", folder, "--state", platform.state, "--http", f"127.0.0.1:{port}"),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=platform.environment,
            cwd=platform.base, start_new_session=True)
        platform.port = port
        try:
            def answers():
                try:
                    return platform.get("/")[0] == 200
                except OSError:
                    return False
            wait_for(answers, 40, "the app answers")
            time.sleep(0.5)
            os.killpg(process.pid, signal.SIGINT)
            out, _ = process.communicate(timeout=30)
        finally:
            if process.poll() is None:
                process.kill()
        assert process.returncode == 130, out
        wait_for(lambda: not [p for p, _ in platform.processes() if is_running(p)], 10, "nothing is left")
    finally:
        platform.close()
