"""The example stack, with real PostgreSQL, Redis, Express and Vite."""
import json
import os
import shutil

from harness import ROOT, wait_for


def gloria(platform):
    folder = platform.folder("gloria", {})
    shutil.copytree(os.path.join(ROOT, "examples", "gloria"), folder, dirs_exist_ok=True,
                    ignore=shutil.ignore_patterns("node_modules", "dist"))
    return platform.folder("gloria", {".keep": ""})


def test_the_whole_stack(platform):
    folder = gloria(platform)
    platform.deploy(folder, timeout=300)
    for path in ("/health", "/health/database", "/health/redis"):
        status, body, _ = platform.get(path)
        assert status == 200 and json.loads(body)["status"] == "ok", (path, body)
    status, body, _ = platform.request("POST", "/api/v1/messages", json.dumps({"body": "hello"}),
                                       {"Content-Type": "application/json"})
    assert status == 201, body
    wait_for(lambda: json.loads(platform.get("/api/v1/messages")[1])["messages"][0]["processed_at"], 15,
             "the worker processed the message")
    assert b"<div id=\"root\">" in platform.get("/")[1]
    answered = {json.loads(platform.get("/health")[1])["instance"] for _ in range(60)}
    assert len(answered) == 3, answered

    platform.stop()
    platform.start()
    wait_for(lambda: platform.get("/health/database")[0] == 200, 60, "everything runs again")
    messages = json.loads(platform.get("/api/v1/messages")[1])["messages"]
    assert [message["body"] for message in messages] == ["hello"], "the data is still there"
    platform.deploy(folder, timeout=300)
    assert [m["body"] for m in json.loads(platform.get("/api/v1/messages")[1])["messages"]] == ["hello"]

    platform.cli("remove", "gloria", "--yes")
    assert not [line for _, line in platform.processes() if "postgres" in line or "redis" in line]
    (item,) = platform.json("trash")["trash"]
    platform.cli("trash", "restore", item["id"])
    wait_for(lambda: platform.get("/health/database")[0] == 200, 60, "the app is back from the trash")
    messages = json.loads(platform.get("/api/v1/messages")[1])["messages"]
    assert [message["body"] for message in messages] == ["hello"], "its data came back with it"

    plain = platform.cli("status").stdout + platform.cli("releases", "gloria").stdout + platform.log_text(10_000_000)
    secret = platform.cli("logs", "gloria", "-n", "10000").stdout
    for process, line in platform.processes():
        assert "postgresql://" not in line and "redis://" not in line, line
    assert "postgresql://" not in plain and "postgresql://" not in secret
