"""The main job: a folder becomes a running, reachable service."""
import json
import os

import pytest
from harness import Failed, wait_for


def test_a_folder_becomes_a_service(platform):
    platform.deploy(platform.folder("hello", {}, source="hello"))
    status, body, headers = platform.get("/")
    assert (status, body) == (200, b"hello\n")
    app = platform.app("hello")
    assert app["release"] == 1 and app["state"] == "live"
    (instance,) = platform.instances("hello")
    assert instance["state"] == "ready" and instance["pid"] > 0 and instance["release"] == 1


def test_status_has_the_promised_shape(platform):
    platform.deploy(platform.folder("hello", {}, source="hello"))
    status = platform.status()
    assert {"version", "roles", "apps"} <= set(status)
    assert sorted(role["role"] for role in status["roles"]) == ["control", "edge", "edge", "keeper", "logd", "signer"]
    for role in status["roles"]:
        assert {"role", "pid", "restarts"} <= set(role)
        with open(f"/proc/{role['pid']}/cmdline") as line:
            if role["role"] != "keeper":
                assert line.read().startswith(f"slipway: {role['role']}")
    (app,) = status["apps"]
    assert {"app", "release", "state", "services"} <= set(app)
    (service,) = app["services"]
    assert service["service"] == "web" and service["type"] == "web"
    (instance,) = service["instances"]
    assert {"id", "pid", "port", "state", "release", "restarts", "started_at", "cpu_seconds", "memory_bytes",
            "in_flight"} <= set(instance)
    assert instance["memory_bytes"] > 1_000_000


def test_output_is_kept_across_releases(platform):
    folder = platform.folder("talk", {
        "server.js": "console.log('release ' + process.env.MARK); console.error('to stderr');\n"
                     "require('http').createServer((q, r) => r.end('ok')).listen(process.env.PORT, '127.0.0.1');\n",
        "slipway.yaml": "app: talk\nservices:\n  web: {start: node server.js, env: {MARK: one}}\n"})
    platform.deploy(folder)
    with open(os.path.join(folder, "slipway.yaml"), "w") as file:
        file.write("app: talk\nservices:\n  web: {start: node server.js, env: {MARK: two}}\n")
    platform.deploy(folder)
    wait_for(lambda: {"release one", "release two"} <= {entry["line"] for entry in platform.log_lines("talk")}, 10,
             "both releases' lines are there")
    assert "to stderr" in platform.cli("logs", "talk").stdout
    only = [entry["line"] for entry in platform.log_lines("talk", "-g", "release t.o")]
    assert only == ["release two"]


def test_everything_runs_again_after_a_reboot(platform):
    folder = platform.folder("hello", {}, source="hello")
    platform.deploy(folder)
    platform.deploy(folder)
    before = platform.app("hello")["release"]
    platform.stop()
    platform.start()
    wait_for(lambda: platform.get("/")[0] == 200, 20, "the app answers again")
    assert platform.app("hello")["release"] == before == 2


def test_rollback_brings_back_release_and_environment(platform):
    def manifest(mark):
        return f"app: steady\nservices:\n  web: {{start: node server.js, env: {{RELEASE_MARK: {mark}}}}}\n"

    folder = platform.folder("steady", {"slipway.yaml": manifest("one")}, source="steady")
    platform.deploy(folder)
    platform.folder("steady", {"slipway.yaml": manifest("two")})
    platform.deploy(folder)
    assert json.loads(platform.get("/")[1])["release"] == "two"
    platform.cli("rollback", "steady")
    assert json.loads(platform.get("/")[1])["release"] == "one"
    platform.cli("rollback", "steady", "v2")
    assert json.loads(platform.get("/")[1])["release"] == "two"
    releases = platform.json("releases", "steady")["releases"]
    assert releases[0]["state"] == "live"


def test_scale_up_and_down_and_restart(platform):
    platform.deploy(platform.folder("steady", {
        "slipway.yaml": "app: steady\nservices:\n  web: {start: node server.js, stop: {websocketDrain: 1s}}\n"}, source="steady"))
    platform.cli("scale", "steady", "web=3")
    ready = [i for i in platform.instances("steady") if i["state"] == "ready"]
    assert len(ready) == 3
    seen = {json.loads(platform.get("/")[1])["pid"] for _ in range(60)}
    assert len(seen) == 3
    platform.cli("restart", "steady")
    again = [i["pid"] for i in platform.instances("steady") if i["state"] == "ready"]
    assert len(again) == 3 and not set(again) & {i["pid"] for i in ready}
    platform.cli("scale", "steady", "web=1")
    wait_for(lambda: len(platform.instances("steady")) == 1, 20, "one instance is left")
    assert platform.get("/")[0] == 200


def test_remove_goes_to_a_trash_that_restores(platform):
    platform.deploy(platform.folder("hello", {}, source="hello"))
    platform.cli("remove", "hello", "--yes")
    assert platform.get("/")[0] in (404, 503)
    assert not platform.status()["apps"]
    (item,) = platform.json("trash")["trash"]
    assert item["app"] == "hello"
    platform.cli("trash", "restore", item["id"])
    wait_for(lambda: platform.get("/")[0] == 200, 20, "the app is back")


def test_a_static_site_is_served_by_the_edge(platform):
    folder = platform.folder("site", {
        "public/index.html": "<h1>front</h1>\n" + "x" * 3000, "public/app.js": "let a = 1;\n" * 400,
        "public/.secret": "no", "private.txt": "no",
        "slipway.yaml": "app: site\nservices:\n  site: {type: static, publish: public, singlePage: true}\n"})
    platform.deploy(folder)
    status, body, headers = platform.get("/")
    assert status == 200 and body.startswith(b"<h1>front") and "etag" in headers
    assert platform.get("/", headers={"If-None-Match": headers["etag"]})[0] == 304
    assert platform.get("/app.js", headers={"Accept-Encoding": "br"})[2]["content-encoding"] == "br"
    assert platform.get("/app.js", headers={"Range": "bytes=0-9"})[0] == 206
    assert platform.get("/some/page")[1].startswith(b"<h1>front")
    assert platform.get("/.secret")[0] == 404
    for path in ("/../private.txt", "/%2e%2e/private.txt", "/..%2fprivate.txt", "/app.js/../../private.txt"):
        assert b"no" != platform.get(path)[1]


def test_the_wrong_things_are_answered_clearly(platform):
    assert platform.get("/")[0] in (404, 503)
    bad = platform.folder("bad", {"slipway.yaml": "app: bad\nservices:\n  web: {start: node x.js, instnaces: 2}\n"})
    with pytest.raises(Failed) as failed:
        platform.deploy(bad)
    assert failed.value.status == 2
    assert "did you mean 'instances'" in failed.value.stderr + failed.value.stdout
    assert platform.cli("rollback", "nothing", check=False).returncode == 3
    assert platform.cli("deploy", "/nonexistent", check=False).returncode in (2, 3)
    assert platform.cli("satus", check=False).returncode == 2


def test_a_second_platform_on_one_state_folder_is_refused(platform):
    done = platform.cli("serve", "--http", "127.0.0.1:0", check=False, timeout=20)
    assert done.returncode != 0
    assert "slipway:" in done.stderr


def test_a_procfile_alone_deploys_and_python_output_is_not_kept_back(platform):
    folder = platform.folder("snake", {
        "Procfile": "web: python3 app.py\n",
        "app.py": "import http.server, os\n"
                  "class Answer(http.server.BaseHTTPRequestHandler):\n"
                  "    def do_GET(self):\n"
                  "        print('asked for', self.path)\n"
                  "        self.send_response(204)\n"
                  "        self.end_headers()\n"
                  "http.server.HTTPServer(('127.0.0.1', int(os.environ['PORT'])), Answer).serve_forever()\n"})
    platform.deploy(folder)
    assert platform.get("/here")[0] == 204
    wait_for(lambda: "asked for /here" in {entry["line"] for entry in platform.log_lines("snake")}, 10, "its line is there")
