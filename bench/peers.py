"""peers.py - the proxies that bench/edge measures, each a process tree of its own, all doing the same work.

HTTP/1.1 with keep-alive to the origin, HTTP/2 to the gRPC origin, X-Forwarded-*, X-Real-IP and X-Request-ID, one JSON access record a
request (buffered), one worker, the certificates chosen by name: ecdsa.test has P-256, rsa.test RSA 2048. What a peer cannot do is
not in its `abilities`.
"""
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import time
import urllib.request

TICKS = os.sysconf("SC_CLK_TCK")
NAMES = ("ecdsa.test", "rsa.test")
ALL = {"plain", "static", "tls", "h2", "ws", "grpc", "idle"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def children_of(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def tree(pid):
    """The process and all that descend from it."""
    return [pid] + [one for child in children_of(pid) for one in tree(child)]


def cpu_seconds(pids):
    """User and system time, that of children which are gone included."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        total += sum(int(field) for field in fields[11:15])
    return total / TICKS


def pss_kib(pids):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            total += int(re.search(r"^Pss:\s+(\d+)", file.read(), re.M).group(1))
    return total


def pin(pid, core):
    if os.cpu_count() > 1:
        for task in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(task), {core})


def descriptors():
    return min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 65536)


def raise_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors(), descriptors()))


def wait_http(url, process=None, seconds=15):
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return answer.read()
        except OSError as error:
            if time.monotonic() > deadline or (process and process.popen.poll() is not None):
                said = open(process.log, errors="replace").read()[-2000:] if process else ""
                raise SystemExit(f"bench/edge: {url} does not answer: {error}\n{said}")
            time.sleep(0.05)


class Process:
    """A child that ends with us, in a process group of its own."""

    def __init__(self, argv, log, **options):
        self.log = log
        with open(log, "ab") as file:
            self.popen = subprocess.Popen(argv, stdout=file, stderr=file, start_new_session=True, **options)
        self.pid = self.popen.pid

    def stop(self):
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
                self.popen.wait()


class Work:
    """What all peers stand before: folders, certificates, origins."""

    def __init__(self, folder):
        self.folder = folder
        self.site = os.path.join(folder, "site")
        self.origin_port = self.grpc_port = None
        os.makedirs(self.site)
        with open(os.path.join(self.site, "page.html"), "wb") as file:
            file.write((b"<!doctype html><title>page</title><p>" + b"slipway bench " * 300)[:4096])
        for name, kind in zip(NAMES, (["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], ["rsa:2048"])):
            subprocess.run(["openssl", "req", "-x509", "-nodes", "-days", "30", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}",
                            "-keyout", self.key(name), "-out", self.cert(name), "-newkey", *kind], check=True, capture_output=True)
            os.chmod(self.key(name), 0o644)  # the platform's own user must read it; it lives for minutes

    def key(self, name):
        return os.path.join(self.folder, f"{name}.key")

    def cert(self, name):
        return os.path.join(self.folder, f"{name}.crt")


class Peer:
    """A child process that listens on `port` and, for TLS, on `tls_port`."""

    def __init__(self, work):
        self.work = work
        self.port, self.tls_port = free_port(), free_port()
        self.folder = os.path.join(work.folder, self.name)
        os.makedirs(os.path.join(self.folder, "tmp"))
        self.start()

    def start(self):
        self.process = Process(self.command(), f"{self.folder}/out.log", preexec_fn=raise_descriptors, env=dict(os.environ, **self.environment()))
        try:
            wait_http(f"http://127.0.0.1:{self.port}/small", self.process)
        except BaseException:
            self.stop()
            raise
        self.pids = tree(self.process.pid)

    def start_anew(self):
        """A process that has allocated nothing yet."""
        self.stop()
        self.start()

    def environment(self):
        return {}

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def path(self, kind):
        return {"small": "/small", "large": "/large", "static": "/static/page.html"}.get(kind, kind)

    def stop(self):
        self.process.stop()


class Nginx(Peer):
    name = "nginx"
    abilities = ALL

    def command(self):
        record = (
            '\'{"time":"$time_iso8601","request_id":"$request_id","method":"$request_method","host":"$host",'
            '"path":"$request_uri","status":$status,"bytes":$body_bytes_sent,"duration":"$request_time",'
            '"upstream":"$upstream_addr","upstream_time":"$upstream_response_time","client":"$remote_addr",'
            '"protocol":"$server_protocol"}\''
        )
        temp = "".join(
            f"    {kind}_temp_path {self.folder}/tmp;\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        user = "user root;\n" if os.geteuid() == 0 else ""
        fields = "\n".join(f"        {kind}_set_header {name} {value};" for kind in ("proxy", "grpc") for name, value in (
            ("Host", "$http_host"), ("X-Real-IP", "$remote_addr"), ("X-Forwarded-For", "$remote_addr"), ("X-Forwarded-Proto", "$scheme"),
            ("X-Forwarded-Host", "$http_host"), ("X-Forwarded-Port", "$server_port"), ("X-Request-ID", "$request_id")))
        locations = f"""
{fields}
        proxy_http_version 1.1;
        proxy_set_header Connection $connection_field;
        proxy_set_header Upgrade $http_upgrade;
        proxy_buffers 16 8k;
        proxy_max_temp_file_size 0;
        proxy_request_buffering off;
        client_max_body_size 0;
        add_header X-Request-ID $request_id;
        location / {{ proxy_pass http://origin; }}
        location /bench.Echo/ {{ grpc_pass grpc://grpc; }}
        location /static/ {{ alias {self.work.site}/; add_header Cache-Control no-cache; add_header X-Request-ID $request_id; }}
"""
        secure = "".join(f"""
    server {{
        listen 127.0.0.1:{self.tls_port} ssl http2{backlog};
        server_name {name};
        ssl_certificate {self.work.cert(name)};
        ssl_certificate_key {self.work.key(name)};
{locations}
    }}
""" for name, backlog in zip(NAMES, (" backlog=4096", "")))  # nginx takes it once an address
        conf = self.write("nginx.conf", f"""{user}daemon off;
worker_processes 1;
worker_rlimit_nofile {descriptors()};
pid {self.folder}/pid;
error_log {self.folder}/error.log warn;
events {{ worker_connections {descriptors() - 2000}; }}
http {{
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
{temp}    log_format record escape=json {record};
    access_log {self.folder}/access.log record buffer=64k flush=1s;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000000;
    keepalive_timeout 600s;
    open_file_cache max=1000 inactive=60s;
    open_file_cache_valid 60s;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ecdh_curve X25519:P-256;
    ssl_session_cache off;
    map $http_upgrade $connection_field {{ default upgrade; "" ""; }}
    upstream origin {{
        server 127.0.0.1:{self.work.origin_port};
        keepalive 512;
        keepalive_requests 100000000;
    }}
    upstream grpc {{
        server 127.0.0.1:{self.work.grpc_port};
        keepalive 512;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{self.port} backlog=4096;
{locations}
    }}
{secure}
}}
""")
        return ["nginx", "-p", self.folder, "-c", conf]

    def version(self):
        return subprocess.run(["nginx", "-v"], capture_output=True, text=True).stderr.strip().split("/")[-1]


class Haproxy(Peer):
    name = "haproxy"
    abilities = ALL - {"static"}

    def command(self):
        record = (
            '\'{"time":"%Tl","request_id":"%ID","method":"%HM","path":"%HU","status":%ST,"bytes":%B,"duration":%Ta,'
            '"upstream":"%s","upstream_time":%Tr,"client":"%ci","protocol":"%HV"}\''
        )
        pems = []
        for name in NAMES:
            with open(self.work.cert(name)) as cert, open(self.work.key(name)) as key:
                pems.append(self.write(f"{name}.pem", cert.read() + key.read()))
        conf = self.write("haproxy.cfg", f"""global
    nbthread 1
    ulimit-n {descriptors()}
    maxconn {(descriptors() - 2000) // 2}
    tune.ssl.default-dh-param 2048
    ssl-default-bind-options ssl-min-ver TLSv1.2
    ssl-default-bind-curves X25519:P-256
    log ring@records format raw local0
ring records
    format raw
    maxlen 1200
    size 262144
defaults
    mode http
    log global
    option http-keep-alive
    http-reuse always
    timeout connect 5s
    timeout client 600s
    timeout server 60s
    timeout tunnel 600s
    timeout http-request 60s
    timeout http-keep-alive 600s
frontend front
    bind 127.0.0.1:{self.port} backlog 4096
    bind 127.0.0.1:{self.tls_port} backlog 4096 ssl {" ".join("crt " + pem for pem in pems)} alpn h2,http/1.1
    unique-id-format %{{+X}}o%ci%cp%fi%fp%Ts%rt%pid
    unique-id-header X-Request-ID
    log-format {record}
    http-request set-header X-Forwarded-For %[src]
    http-request set-header X-Real-IP %[src]
    http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header X-Forwarded-Port %[dst_port]
    http-response set-header X-Request-ID %[unique-id]
    use_backend grpc if {{ path_beg /bench.Echo/ }}
    default_backend origin
backend origin
    server origin 127.0.0.1:{self.work.origin_port} maxconn 1024
backend grpc
    server grpc 127.0.0.1:{self.work.grpc_port} proto h2
""")
        return ["haproxy", "-db", "-f", conf]

    def version(self):
        text = subprocess.run(["haproxy", "-v"], capture_output=True, text=True).stdout
        return re.search(r"version (\S+)", text).group(1).split("-")[0]


class Caddy(Peer):
    name = "caddy"
    abilities = ALL

    def environment(self):
        return {"GOMAXPROCS": "1", "HOME": self.folder, "XDG_DATA_HOME": self.folder, "XDG_CONFIG_HOME": self.folder}

    def command(self):
        fields = "\n".join(f"        header_up {name} {value}" for name, value in (
            ("X-Real-IP", "{remote_host}"), ("X-Forwarded-Port", str(self.tls_port)), ("X-Request-ID", "{http.request.uuid}")))
        body = f"""
    bind 127.0.0.1
    log {{
        output file {self.folder}/access.log
    }}
    header X-Request-ID {{http.request.uuid}}
    handle /bench.Echo/* {{
        reverse_proxy h2c://127.0.0.1:{self.work.grpc_port} {{
{fields}
        }}
    }}
    handle_path /static/* {{
        root * {self.work.site}
        header Cache-Control no-cache
        file_server
    }}
    handle {{
        reverse_proxy 127.0.0.1:{self.work.origin_port} {{
{fields}
            transport http {{
                keepalive_idle_conns 1024
                keepalive_idle_conns_per_host 1024
            }}
        }}
    }}
"""
        secure = "".join(f"https://{name}:{self.tls_port} {{\n    tls {self.work.cert(name)} {self.work.key(name)}{body}}}\n" for name in NAMES)
        conf = self.write("Caddyfile", f"""{{
    admin off
    auto_https off
    servers {{
        protocols h1 h2
        timeouts {{
            idle 600s
        }}
    }}
}}
http://:{self.port} {{{body}}}
{secure}""")
        return ["caddy", "run", "--config", conf, "--adapter", "caddyfile"]

    def version(self):
        return subprocess.run(["caddy", "version"], capture_output=True, text=True).stdout.split()[0]


class H2o(Peer):
    name = "h2o"
    abilities = ALL - {"grpc"}

    def command(self):
        record = ('{"time":"%t","method":"%m","host":"%V","path":"%U%q","status":%s,"bytes":%b,"duration":"%{duration}x",'
                  '"upstream_time":"%{response-time}x","client":"%h","protocol":"%H"}')
        paths = f"""
      "/static":
        file.dir: {self.work.site}
        header.set: "cache-control: no-cache"
      "/":
        proxy.reverse.url: "http://127.0.0.1:{self.work.origin_port}/"
"""
        secure = "".join(f"""
  "{name}:{self.tls_port}":
    listen:
      host: 127.0.0.1
      port: {self.tls_port}
      ssl:
        certificate-file: {self.work.cert(name)}
        key-file: {self.work.key(name)}
        minimum-version: TLSv1.2
        cipher-preference: server
    paths:{paths}""" for name in NAMES)
        user = "user: root\n" if os.geteuid() == 0 else ""
        conf = self.write("h2o.conf", f"""{user}num-threads: 1
max-connections: {descriptors() - 2000}
tcp-fastopen: 0
http1-request-timeout: 600
http2-idle-timeout: 600
http2-max-concurrent-requests-per-connection: 128
limit-request-body: 1073741824
pid-file: {self.folder}/pid
error-log: {self.folder}/error.log
access-log:
  path: {self.folder}/access.log
  format: '{record}'
proxy.preserve-host: ON
proxy.websocket: ON
proxy.timeout.keepalive: 10000
hosts:
  "default:{self.port}":
    listen:
      host: 127.0.0.1
      port: {self.port}
    paths:{paths}{secure}""")
        return ["h2o", "-m", "worker", "-c", conf]

    def version(self):
        return subprocess.run(["h2o", "-v"], capture_output=True, text=True).stdout.split()[2]


class Slipway:
    """The whole platform as it is deployed: the origins are instances, the folder a static service."""

    name = "slipway"
    abilities = ALL

    def __init__(self, work, binary):
        self.work, self.binary = work, binary
        self.state = os.path.join(work.folder, "state")
        self.port, self.tls_port = free_port(), free_port()
        app = os.path.join(work.folder, "app")
        os.makedirs(app)
        shutil.copytree(work.site, os.path.join(app, "site"))
        for program in ("origin", "grpc_origin"):
            os.makedirs(os.path.join(app, program))
            shutil.copy(os.path.join(work.folder, program), os.path.join(app, program, program))
        secure = "".join(f"""  - {{host: {name}, path: /, service: origin, tls: {{cert: {work.cert(name)}, key: {work.key(name)}}}}}
  - {{host: {name}, path: /bench.Echo/, service: grpc, upstream: {{protocol: h2}}}}
""" for name in NAMES)
        with open(os.path.join(app, "slipway.yaml"), "w") as file:
            file.write(f"""app: bench
services:
  origin:
    root: origin
    start: exec ./origin $PORT
  grpc:
    root: grpc_origin
    start: exec ./grpc_origin $PORT
    ready: tcp
  site:
    type: static
    root: site
routes:
  - {{path: /, service: origin}}
  - {{path: /page.html, service: site}}
{secure}""")
        os.makedirs(self.state)
        if os.geteuid() == 0:
            for folder in (work.folder, self.state, app):
                os.chmod(folder, 0o755)
        self.process = Process(
            [binary, "serve", "--state", self.state, "--http", f"127.0.0.1:{self.port}", "--https", f"127.0.0.1:{self.tls_port}", "--edges", "1"],
            os.path.join(work.folder, "slipway.log"), preexec_fn=raise_descriptors,
        )
        try:
            self.deploy(app)
        except BaseException:
            self.stop()
            raise

    def deploy(self, app):
        self.call("deploy", app)
        wait_http(f"http://127.0.0.1:{self.port}/small")
        status = self.find_roles()
        self.log_pids = [role["pid"] for role in status["roles"] if role["role"] == "logd"]
        services = {service["service"]: service["instances"] for one_app in status["apps"] for service in one_app["services"]}
        self.origin_pids = [one["pid"] for name in ("origin", "grpc") for one in services[name] if one["pid"]]
        self.work.origin_port = next(one["port"] for one in services["origin"] if one["port"])
        self.work.grpc_port = next(one["port"] for one in services["grpc"] if one["port"])

    def find_roles(self):
        status = json.loads(self.call("status", "--json"))
        self.pids = [role["pid"] for role in status["roles"] if role["role"] in ("edge", "signer")]
        return status

    def start_anew(self):
        """The keeper does that for us."""
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
        time.sleep(1)
        wait_http(f"http://127.0.0.1:{self.port}/small")
        self.find_roles()

    def path(self, kind):
        return {"small": "/small", "large": "/large", "static": "/page.html"}.get(kind, kind)

    def call(self, *words):
        deadline = time.monotonic() + 60
        while True:
            done = subprocess.run([self.binary, *words, "--state", self.state], capture_output=True, text=True, timeout=120)
            if done.returncode == 0:
                return done.stdout
            if time.monotonic() > deadline or os.path.exists(os.path.join(self.state, "admin.sock")):
                raise SystemExit(f"bench/edge: slipway {' '.join(words)} failed\n{done.stdout}{done.stderr}")
            time.sleep(0.1)

    def version(self):
        return subprocess.run([self.binary, "version"], capture_output=True, text=True).stdout.split()[-1]

    def stop(self):
        self.process.stop()


PEERS = {kind.name: kind for kind in (Nginx, Haproxy, Caddy, H2o)}
PACKAGES = {"nginx": "nginx-light", "haproxy": "haproxy", "caddy": "caddy", "h2o": "h2o"}
