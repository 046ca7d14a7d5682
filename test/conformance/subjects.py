"""The proxies that the table is run against: each starts in front of the lanes' origins, in a folder of its own.

A lane is one origin with one plain listener and, where the subject has HTTP/2, one of TLS; lanes know nothing of each
other, so rows run beside each other. Every configuration is what its manual recommends for an application behind it:
HTTP/1.1 and keep-alive to the origin, WebSockets on, nothing cached, nothing buffered where that can be chosen.
"""
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "edge"))

READY_S = 30


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def run_text(*command):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace")


def make_certificate(folder):
    """A certificate of its own for a.test; (certificate, key, both in one file)."""
    certificate, key, both = (os.path.join(folder, n) for n in ("cert.pem", "key.pem", "both.pem"))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=a.test",
                    "-addext", "subjectAltName=DNS:a.test,DNS:b.test"], check=True, capture_output=True)
    with open(both, "w") as out:
        for name in (certificate, key):
            with open(name) as part:
                out.write(part.read())
    os.chmod(key, 0o644)
    os.chmod(both, 0o644)
    return certificate, key, both


class Subject:
    name = ""
    wait_s = 2.0  # for an answer
    h2 = "tls"  # how HTTP/2 is spoken: tls, plain (prior knowledge) or None
    package = ""
    death = r"exited on signal|exit signal|Child \(\d+\) died|Panic at|died signal"

    def __init__(self, origin_ports):
        self.origin_ports = origin_ports
        self.folder = tempfile.mkdtemp(prefix="conformance-")
        os.chmod(self.folder, 0o755)
        self.processes = []
        count = len(origin_ports)
        ports = free_ports(2 * count)
        self.plain_ports, self.tls_ports = ports[:count], ports[count:]
        try:
            self.certificate, self.key, self.both = make_certificate(self.folder)
            self.start()
            self.wait_ready()
        except BaseException:
            self.stop()
            raise

    def lanes(self):
        return list(zip(self.origin_ports, self.plain_ports, self.tls_ports))

    def address(self, lane, protocol):
        if protocol == "h1s" or (protocol == "h2" and self.h2 == "tls"):
            return "127.0.0.1", self.tls_ports[lane]
        return "127.0.0.1", self.plain_ports[lane]

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w") as out:
            out.write(text)
        return path

    def spawn(self, *command, **options):
        log = open(os.path.join(self.folder, "log"), "ab")
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                                   start_new_session=True, **options)
        log.close()
        self.processes.append(process)
        return process

    def wait_ready(self):
        deadline = time.monotonic() + READY_S
        ports = list(self.plain_ports) + (list(self.tls_ports) if self.h2 == "tls" else [])
        for port in ports:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    dead = [p for p in self.processes if p.poll() is not None]
                    if dead or time.monotonic() > deadline:
                        raise RuntimeError("%s did not start: %s" % (self.name, self.log()[-2000:]))
                    time.sleep(0.05)

    def has_died(self):
        """Whether it, or a worker of it, ended by itself."""
        return any(p.poll() is not None for p in self.processes) or bool(re.search(self.death, self.log()))

    def log(self):
        try:
            with open(os.path.join(self.folder, "log"), errors="replace") as text:
                return text.read()
        except OSError:
            return ""

    def stop(self):
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    @classmethod
    def version(cls):
        text = run_text("dpkg-query", "-W", "-f", "${Version}", cls.package)
        return text.split("-")[0].split("+")[0]

    @classmethod
    def is_there(cls):
        return shutil.which(cls.program, path=os.environ.get("PATH", "") + ":/usr/sbin") is not None


class Nginx(Subject):
    name, program, package = "nginx", "nginx", "nginx"

    def start(self):
        servers = []
        for origin, plain, tls in self.lanes():
            servers.append("""
    upstream o%(o)d { server 127.0.0.1:%(o)d max_fails=0; keepalive 8; }
    server {
        listen 127.0.0.1:%(p)d; listen 127.0.0.1:%(t)d ssl http2;
        ssl_certificate %(c)s; ssl_certificate_key %(k)s;
        location / {
            proxy_pass http://o%(o)d; proxy_http_version 1.1; proxy_buffering off; proxy_request_buffering off;
            proxy_set_header Host $host; proxy_set_header Connection $connection_up; proxy_set_header Upgrade $http_upgrade;
            proxy_set_header X-Forwarded-For $remote_addr;
        }
    }""" % {"o": origin, "p": plain, "t": tls, "c": self.certificate, "k": self.key})
        temps = "".join("    %s_temp_path %s/%s;\n" % (n, self.folder, n)
                        for n in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        path = self.write("nginx.conf", """daemon off; worker_processes 1; pid %s/pid; error_log stderr warn; %s
events { worker_connections 1024; }
http {
%s    access_log off; client_max_body_size 0;
    map $http_upgrade $connection_up { default upgrade; "" ""; }
%s
}
""" % (self.folder, "user root;" if os.getuid() == 0 else "", temps, "".join(servers)))
        self.spawn("nginx" if shutil.which("nginx") else "/usr/sbin/nginx", "-p", self.folder, "-c", path)


class Haproxy(Subject):
    name, program, package = "HAProxy", "haproxy", "haproxy"

    def start(self):
        parts = []
        for origin, plain, tls in self.lanes():
            parts.append("""
frontend f%(p)d
    bind 127.0.0.1:%(p)d
    bind 127.0.0.1:%(t)d ssl crt %(b)s alpn h2,http/1.1
    option forwardfor
    default_backend b%(p)d
backend b%(p)d
    server s 127.0.0.1:%(o)d
""" % {"o": origin, "p": plain, "t": tls, "b": self.both})
        path = self.write("haproxy.cfg", """global
    maxconn 1000
    nbthread 1
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout http-request 10s
%s""" % "".join(parts))
        self.spawn("/usr/sbin/haproxy", "-db", "-f", path)


class Apache(Subject):
    name, program, package = "Apache", "apache2", "apache2"

    def start(self):
        modules = ("mpm_event", "authz_core", "unixd", "proxy", "proxy_http", "proxy_wstunnel", "ssl", "http2", "headers",
                   "socache_shmcb")
        lines = ["ServerRoot %s" % self.folder, "PidFile %s/pid" % self.folder, "ErrorLog /dev/stderr",
                 "ServerName a.test", "DefaultRuntimeDir %s" % self.folder]
        for module in modules:
            if os.path.exists("/usr/lib/apache2/modules/mod_%s.so" % module):
                lines.append("LoadModule %s_module /usr/lib/apache2/modules/mod_%s.so" % (module, module))
        if os.getuid() == 0:
            name = "www-data" if "www-data" in [p.pw_name for p in pwd.getpwall()] else "nobody"
            lines += ["User %s" % name, "Group %s" % ("www-data" if name == "www-data" else "nogroup")]
        lines += ["StartServers 2", "ThreadsPerChild 32", "MaxRequestWorkers 64", "ServerLimit 2", "ProxyVia On",
                  "ProxyPreserveHost On", "AllowEncodedSlashes NoDecode", "Timeout 20", "KeepAliveTimeout 20",
                  "SSLSessionCache none", "MaxKeepAliveRequests 0"]
        for origin, plain, tls in self.lanes():
            for port, is_tls in ((plain, False), (tls, True)):
                lines += ["Listen 127.0.0.1:%d" % port, "<VirtualHost 127.0.0.1:%d>" % port]
                if is_tls:
                    lines += ["SSLEngine on", "SSLCertificateFile %s" % self.certificate,
                              "SSLCertificateKeyFile %s" % self.key, "Protocols h2 http/1.1"]
                lines += ["ProxyPass / http://127.0.0.1:%d/ retry=0 flushpackets=on upgrade=websocket nocanon" % origin,
                          "</VirtualHost>"]
        path = self.write("apache.conf", "\n".join(lines) + "\n")
        self.spawn("/usr/sbin/apache2", "-d", self.folder, "-f", path, "-DFOREGROUND")


class Caddy(Subject):
    name, program, package = "Caddy", "caddy", "caddy"

    def start(self):
        parts = ["{\n\tadmin off\n\tauto_https off\n\tstorage file_system %s/store\n}\n" % self.folder]
        for origin, plain, tls in self.lanes():
            parts.append("http://:%d {\n\tbind 127.0.0.1\n\treverse_proxy 127.0.0.1:%d {\n\t\tflush_interval -1\n\t}\n}\n"
                         % (plain, origin))
            parts.append("https://:%d {\n\tbind 127.0.0.1\n\ttls %s %s\n\treverse_proxy 127.0.0.1:%d {\n"
                         "\t\tflush_interval -1\n\t}\n}\n" % (tls, self.certificate, self.key, origin))
        path = self.write("Caddyfile", "".join(parts))
        self.spawn("caddy", "run", "--config", path, "--adapter", "caddyfile",
                   env=dict(os.environ, HOME=self.folder, XDG_CONFIG_HOME=self.folder, XDG_DATA_HOME=self.folder))


class Varnish(Subject):
    """No TLS of its own: HTTP/2 by prior knowledge."""
    name, program, package, h2 = "Varnish", "varnishd", "varnish", "plain"

    def start(self):
        for index, (origin, plain, _) in enumerate(self.lanes()):
            path = self.write("lane%d.vcl" % index, """vcl 4.1;
backend default { .host = "127.0.0.1"; .port = "%d"; }
sub vcl_recv { if (req.http.upgrade ~ "(?i)websocket") { return (pipe); } }
sub vcl_req_cookie { return (pass); }
sub vcl_pipe { if (req.http.upgrade) { set bereq.http.upgrade = req.http.upgrade;
    set bereq.http.connection = req.http.connection; } }
""" % origin)
            self.spawn("/usr/sbin/varnishd", "-F", "-j", "none", "-n", os.path.join(self.folder, "n%d" % index),
                       "-a", "127.0.0.1:%d" % plain, "-f", path, "-s", "malloc,16m", "-p", "feature=+http2",
                       "-p", "thread_pools=1", "-p", "thread_pool_min=20", "-p", "thread_pool_max=60", "-p", "thread_pool_stack=128k")


class H2o(Subject):
    name, program, package = "h2o", "h2o", "h2o"

    def start(self):
        parts = ["num-threads: 1\nproxy.preserve-host: ON\nproxy.websocket: ON\nproxy.timeout.io: 30000\n"
                 "error-log: /dev/null\n"]
        if os.getuid() == 0:
            parts.append("user: nobody\n")
        parts.append("hosts:\n")
        for origin, plain, tls in self.lanes():
            parts.append("""  "lane.test:%(p)d":
    listen: {host: 127.0.0.1, port: %(p)d}
    paths: {"/": {proxy.reverse.url: "http://127.0.0.1:%(o)d/"}}
  "lane.test:%(t)d":
    listen: {host: 127.0.0.1, port: %(t)d, ssl: {certificate-file: %(c)s, key-file: %(k)s}}
    paths: {"/": {proxy.reverse.url: "http://127.0.0.1:%(o)d/"}}
""" % {"o": origin, "p": plain, "t": tls, "c": self.certificate, "k": self.key})
        path = self.write("h2o.conf", "".join(parts))
        self.spawn("h2o", "-m", "worker", "-c", path)


class Slipway(Subject):
    """The edge role alone, by the harness of its own tests."""
    name, package, wait_s = "Slipway", "", 6.0
    harness = None

    def start(self):
        import edge_world
        edge_world.HARNESS = self.harness
        self.edges = []
        for origin in self.origin_ports:
            self.edges.append(edge_world.Edge("127.0.0.1:%d" % origin, tls=True))
        self.plain_ports = [edge.port for edge in self.edges]
        self.tls_ports = [edge.tls_port for edge in self.edges]

    def stop(self):
        errors = []
        for edge in getattr(self, "edges", []):
            try:
                edge.stop()
            except AssertionError as error:  # a sanitizer spoke, or it did not quit
                errors.append(str(error))
        super().stop()
        if errors:
            raise AssertionError("\n".join(errors))

    @classmethod
    def version(cls):
        root = os.path.dirname(os.path.dirname(HERE))
        with open(os.path.join(root, "meson.build")) as text:
            found = re.search(r"version:\s*'([^']+)'", text.read())
        return found.group(1) if found else ""

    @classmethod
    def is_there(cls):
        return cls.harness is not None


SUBJECTS = [Slipway, Nginx, Haproxy, Apache, Caddy, Varnish, H2o]
