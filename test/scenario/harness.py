"""The real binary, started and stopped by a test: one platform with a state folder and a port of its own.

Nothing here knows how the platform works inside; it sees what a person sees: the command line, HTTP, /proc.
"""
import contextlib
import http.client
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BINARY = os.environ.get("SLIPWAY_BINARY", os.path.join(ROOT, "build", "check", "slipway"))
APPS = os.path.join(os.path.dirname(__file__), "apps")
PLAIN_USER = "nobody"  # who runs the platform in unprivileged mode when the tests run as root


def modes():
    """Root mode and unprivileged mode, as far as this user can have them."""
    return ["root", "unprivileged"] if os.geteuid() == 0 else ["unprivileged"]


def wait_for(condition, timeout, what, interval=0.05):
    """The first true value of condition(), or an AssertionError that names `what`."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(interval)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_running(pid):
    """True for a process that is there and no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def processes_of(folder):
    """(pid, command line) of every process that has the folder in its environment, command line or working folder."""
    found = []
    needle = folder.encode()
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            with open(f"/proc/{name}/environ", "rb") as environ, open(f"/proc/{name}/cmdline", "rb") as line:
                text = line.read()
                here = os.readlink(f"/proc/{name}/cwd").encode()
                if (needle in environ.read() or needle in text or here.startswith(needle)) and is_running(name):
                    found.append((int(name), text.replace(b"\0", b" ").decode(errors="replace").strip()))
    return found


class Failed(AssertionError):
    def __init__(self, arguments, done):
        self.status, self.stdout, self.stderr = done.returncode, done.stdout, done.stderr
        super().__init__(f"slipway {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")


class Platform:
    def __init__(self, mode, edges=2, environment=None, wrapper=()):
        self.mode = mode
        self.wrapper = list(wrapper)  # what `serve` runs under
        self.edges = edges
        self.base = tempfile.mkdtemp(prefix="slipway-test-", dir="/tmp")
        os.chmod(self.base, 0o755)
        self.state = os.path.join(self.base, "state")
        self.port = free_port()
        self.https_port = None  # once it serves; another one after each start, unless https_listen names one
        self.https_listen = "127.0.0.1:0"
        self.process = None
        self.log_path = os.path.join(self.base, "serve.log")
        self.environment = {**os.environ, "NO_COLOR": "1", "ASAN_OPTIONS": "detect_leaks=0",
                            **(environment or {})}
        if self.is_dropped():
            user = pwd.getpwnam(PLAIN_USER)
            self.environment["HOME"] = self.base
            os.chown(self.base, user.pw_uid, user.pw_gid)

    def is_dropped(self):
        return self.mode == "unprivileged" and os.geteuid() == 0

    def command(self, *arguments):
        command = [BINARY, *arguments]
        if self.is_dropped():
            user = pwd.getpwnam(PLAIN_USER)
            command = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups",
                       "--", *command]
        return command

    # -- the platform

    def start(self, timeout=30):
        self.log = open(self.log_path, "ab")
        self.process = subprocess.Popen(
            self.wrapper + self.command("serve", "--state", self.state, "--http", f"127.0.0.1:{self.port}",
                         "--https", self.https_listen,
                         "--edges", str(self.edges)),
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=self.environment, cwd=self.base,
            start_new_session=True)
        wait_for(self.is_serving, timeout, f"the platform serves\n{self.log_text()}")
        self.https_port = self.status()["https_port"]
        return self

    def is_serving(self):
        if self.process.poll() is not None:
            raise AssertionError(f"serve ended with {self.process.returncode}\n{self.log_text()}")
        return self.cli("status", "--json", check=False).returncode == 0

    def stop(self, timeout=60):
        """SIGTERM, as systemd does; everything must end by itself."""
        if not self.process:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGKILL)
                self.process.wait(10)
                raise AssertionError(f"serve did not stop within {timeout} s\n{self.log_text()}") from None
        self.log.close()
        code, self.process = self.process.returncode, None
        left = self.processes()
        for pid, _ in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert not left, f"processes left behind: {left}"
        assert code == 0, f"serve exited with {code}\n{self.log_text()}"

    def close(self):
        """End of the test: stop whatever runs and remove the folder."""
        try:
            self.stop()
        finally:
            shutil.rmtree(self.base, ignore_errors=True)

    def log_text(self, size=6000):
        with contextlib.suppress(OSError), open(self.log_path, "rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - size))
            return log.read().decode(errors="replace")
        return ""

    def processes(self):
        """(pid, command line) of every process that belongs to this platform."""
        return processes_of(self.state)

    # -- the command line

    def cli(self, *arguments, check=True, timeout=120, cwd=None, stdin=subprocess.DEVNULL):
        verb, rest = arguments[0], arguments[1:]
        done = subprocess.run(self.command(verb, "--state", self.state, *rest), capture_output=True, text=True,
                              timeout=timeout, stdin=stdin, env=self.environment, cwd=cwd or self.base)
        if check and done.returncode != 0:
            raise Failed(arguments, done)
        return done

    def json(self, *arguments, **options):
        return json.loads(self.cli(*arguments, "--json", **options).stdout)

    def deploy(self, folder, *options, **more):
        return self.cli("deploy", folder, *options, **more)

    def status(self):
        return self.json("status")

    def app(self, name):
        return next(app for app in self.status()["apps"] if app["app"] == name)

    def instances(self, app, service=None):
        return [instance for entry in self.app(app)["services"] if service in (None, entry["service"])
                for instance in entry["instances"]]

    def role_pids(self, role):
        """Of those that run: a role that is just being restarted has no pid."""
        return [entry["pid"] for entry in self.status()["roles"] if entry["role"] == role and entry["pid"]]

    def kill_role(self, role, index=0):
        pid = wait_for(lambda: self.role_pids(role)[index:], 10, f"{role} runs")[0]
        os.kill(pid, signal.SIGKILL)
        return pid

    def log_lines(self, app, *options):
        out = self.cli("logs", app, "--json", *options).stdout
        return [json.loads(line) for line in out.splitlines() if line.strip()]

    # -- HTTP

    def request(self, method, path, body=None, headers=None, host="app.test", timeout=15):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body=body, headers={"Host": host, **(headers or {})})
            response = connection.getresponse()
            return response.status, response.read(), dict((k.lower(), v) for k, v in response.getheaders())
        finally:
            connection.close()

    def get(self, path, **options):
        return self.request("GET", path, **options)

    # -- folders

    def folder(self, name, files, source=None):
        """A source folder for a deploy: a copy of apps/<source> with `files` {path: text} on top."""
        path = os.path.join(self.base, "src", name)
        if source:
            shutil.copytree(os.path.join(APPS, source), path, dirs_exist_ok=True)
        for relative, text in files.items():
            target = os.path.join(path, relative)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "w") as file:
                file.write(text)
        if self.is_dropped():
            user = pwd.getpwnam(PLAIN_USER)
            for directory, _, names in os.walk(os.path.join(self.base, "src")):
                os.chown(directory, user.pw_uid, user.pw_gid)
                for entry in names:
                    os.chown(os.path.join(directory, entry), user.pw_uid, user.pw_gid)
        return path
