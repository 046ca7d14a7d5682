"""Five real servers behind the edge, each with a parser of its own, that put on record what they parsed.

Every parser is set as tolerant as it goes: what a strict origin would refuse by itself proves nothing about the edge. nginx,
Apache and lighttpd hand each request on to a small answerer of ours, so that they read bodies to the end and so that the
answer tells what they took for the body. Each answer carries X-Seen (the target as the origin understood it) and X-Body
("bytes:digest"); each record is one line: request id, method, target, status, body.

Free ports, one temporary folder, no privileges; what is started here is ended here.
"""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Record:
    """One request as an origin understood it."""

    def __init__(self, line):
        request_id, self.method, self.target, status, self.body = line.split("\t")
        line_match = re.fullmatch(r"\S* (.*) HTTP/\S+", self.target)  # lighttpd has the whole line only
        if line_match:
            self.target = line_match[1].strip()
        self.request_id = "" if request_id == "-" else request_id
        self.status = int(status) if status.isdigit() else 0

    @property
    def is_whole(self):
        """The origin read it to its end and answered it. The rest was cut off by the edge, or refused by the origin."""
        return self.status == 101 or 200 <= self.status < 300


class Origin:
    """Started by __init__, answers when it returns."""

    def __init__(self, folder, answerer):
        self.folder = os.path.join(folder, self.name)
        self.port = free_port()
        self.log = os.path.join(self.folder, "requests")
        os.makedirs(self.folder)
        open(self.log, "w").close()
        self.process = None
        self.output = os.path.join(self.folder, "output")
        with open(self.output, "ab") as output:
            self.process = subprocess.Popen(self.command(answerer), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                            start_new_session=True)
        wait_for(self)

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def is_running(self):
        return self.process.poll() is None

    def stop(self):
        """In order, so that what is buffered of the record is written."""
        if self.process and self.is_running():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()

    def records(self):
        with open(self.log, encoding="latin-1", newline="\n") as file:
            return [Record(line.rstrip("\n")) for line in file if line.count("\t") == 4]


class Answerer(Origin):
    """Behind nginx, Apache and lighttpd; a plain server of ours. Its own record is not looked at."""

    name = "answerer"

    def command(self, answerer):
        return [sys.executable, os.path.join(HERE, "origin.py"), str(self.port), self.log]


class Python(Answerer):
    name = "python"


class Node(Origin):
    name = "node"

    def command(self, answerer):
        return ["node", os.path.join(HERE, "origin.js"), str(self.port), self.log]


class Nginx(Origin):
    name = "nginx"

    def command(self, answerer):
        temp = "\n".join("    %s_temp_path %s/tmp;" % (kind, self.folder)
                         for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        user = "user root;" if os.geteuid() == 0 else ""
        conf = self.write("nginx.conf", f"""{user}
daemon off;
worker_processes 1;
pid {self.folder}/pid;
error_log {self.folder}/error.log error;
events {{ worker_connections 1024; }}
http {{
{temp}
    log_format record '$http_x_request_id\t$request_method\t$request_uri\t$status\t$upstream_http_x_body';
    access_log {self.log} record;
    keepalive_requests 1000000;
    underscores_in_headers on;
    ignore_invalid_headers off;
    merge_slashes off;
    large_client_header_buffers 8 64k;
    client_max_body_size 0;
    client_body_buffer_size 256k;
    upstream answerer {{ server 127.0.0.1:{answerer.port}; keepalive 32; }}
    server {{
        listen 127.0.0.1:{self.port};
        location / {{
            proxy_pass http://answerer;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Upgrade "";
            add_header X-Seen $request_uri always;
        }}
    }}
}}
""")
        return ["nginx", "-p", self.folder, "-c", conf, "-e", f"{self.folder}/error.log"]


class Apache(Origin):
    name = "apache"
    MODULES = ("mpm_event", "authz_core", "headers", "proxy", "proxy_http")

    def command(self, answerer):
        load = "\n".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in self.MODULES)
        conf = self.write("apache.conf", f"""{load}
ServerName origin.test
ServerRoot {self.folder}
DefaultRuntimeDir {self.folder}
PidFile {self.folder}/pid
ErrorLog {self.folder}/error.log
LogLevel error
Listen 127.0.0.1:{self.port}
User {'nobody' if os.geteuid() == 0 else '#-1'}
StartServers 1
ServerLimit 1
ThreadsPerChild 32
MaxRequestWorkers 32
MaxKeepAliveRequests 0
KeepAliveTimeout 5
HttpProtocolOptions Unsafe LenientMethods Allow0.9
LimitRequestFieldSize 65536
LimitRequestLine 32768
AllowEncodedSlashes NoDecode
TraceEnable extended
LogFormat "%{{X-Request-ID}}i\\t%m\\t%U%q\\t%>s\\t%{{X-Body}}o" record
CustomLog {self.log} record
Header always set X-Seen "expr=%{{THE_REQUEST}}"
ProxyRequests Off
ProxyPass / http://127.0.0.1:{answerer.port}/ nocanon
""")
        return ["/usr/sbin/apache2", "-f", conf, "-DFOREGROUND"]


class Lighttpd(Origin):
    name = "lighttpd"

    def command(self, answerer):
        conf = self.write("lighttpd.conf", f"""server.port = {self.port}
server.bind = "127.0.0.1"
server.document-root = "{self.folder}"
server.errorlog = "{self.folder}/error.log"
server.pid-file = "{self.folder}/pid"
server.modules = ("mod_accesslog", "mod_proxy")
server.http-parseopts = ("header-strict" => "disable", "host-strict" => "disable", "host-normalize" => "disable",
  "url-normalize" => "disable", "method-get-body" => "enable")
server.max-keep-alive-requests = 100000
server.max-request-field-size = 65535
server.feature-flags = ("server.h2proto" => "disable", "server.h2c" => "disable")
accesslog.filename = "{self.log}"
accesslog.format = "%{{X-Request-ID}}i\\t%m\\t%r\\t%s\\t%{{X-Body}}o"
proxy.server = ("/" => (("host" => "127.0.0.1", "port" => {answerer.port})))
""")
        return ["/usr/sbin/lighttpd", "-D", "-f", conf]


KINDS = {kind.name: kind for kind in (Node, Python, Nginx, Apache, Lighttpd)}
PROGRAMS = {"node": "node", "nginx": "nginx", "apache": "/usr/sbin/apache2", "lighttpd": "/usr/sbin/lighttpd"}


def missing(names):
    """The programs of these origins that are not installed."""
    return [name for name in names if name in PROGRAMS and not shutil.which(PROGRAMS[name])]


def wait_for(origin, seconds=15):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and origin.is_running():
        try:
            with socket.create_connection(("127.0.0.1", origin.port), 1) as connection:
                connection.settimeout(2)
                connection.sendall(b"GET /first HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                if re.match(rb"HTTP/1\.1 200 ", connection.recv(4096)):
                    return
        except OSError:
            pass
        time.sleep(0.05)
    with open(origin.output, encoding="latin-1") as output:
        raise SystemExit("invariant: %s does not answer: %s" % (origin.name, output.read()[-2000:]))
