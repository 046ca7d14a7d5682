#!/usr/bin/env python3
"""TLS at the edge: handshakes, certificates, who may ask for what; PROXY headers and trusted proxies; upstreams that
speak TLS. The real edge and the real signer, scripted peers. Usage: test_edge_tls.py HARNESS [NAME...]"""
import json
import os
import signal
import socket
import ssl
import struct
import sys
import tempfile
import threading
import time

import edge_world
from edge_world import Closed, Edge, Upstream, Wire, answering, read_message

GET = "GET / HTTP/1.1\r\nHost: %s\r\n%s\r\n"
PREFACE2 = b"\r\n\r\n\0\r\nQUIT\n"


def ask(wire, host="x.test", extra="", path="/", method="GET"):
    wire.send("%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n" % (method, path, host, extra))
    return read_message(wire, method == "HEAD")


def refused(edge, name="x.test", **more):
    """What a handshake that must not succeed ends with."""
    try:
        edge.connect_tls(name, **more)
    except (ssl.SSLError, ConnectionError) as error:
        return str(error)
    raise AssertionError("the handshake succeeded")


def restart_signer(edge):
    edge.command("signer stop")
    edge.expect("exited signer")
    edge.command("signer start")


def last_record(edge):
    return json.loads(edge.records()[-1][1])


# ---- handshakes


def requests_come_over_tls():
    with Edge(Upstream(), tls=True) as edge:
        wire = edge.connect_tls("x.test")
        for _ in range(3):
            assert ask(wire).body == b"hello"
        seen = edge.upstreams[0].got()
        assert seen.get("x-forwarded-proto") == "https"
        assert seen.get("x-forwarded-port") == str(edge.tls_port)
        assert seen.get("x-forwarded-for") == "127.0.0.1"
        record = last_record(edge)
        assert record["tls"] == "TLSv1.3" and record["sni"] == "x.test" and record["resumed"] is False
        assert record["cipher"].startswith("TLS_") and record["protocol"] == "HTTP/1.1"
        plain = edge.connect_plain()
        assert ask(plain).status == 200
        seen = [edge.upstreams[0].got() for _ in range(3)][-1]
        assert seen.get("x-forwarded-proto") == "http" and seen.get("x-forwarded-port") == str(edge.port)
        assert "tls" not in last_record(edge)


def both_versions_and_nothing_older():
    with Edge(Upstream(), tls=True) as edge:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            assert ask(edge.connect_tls(context=edge.tls_context(version=version))).status == 200
        raw = edge.open_socket(edge.tls_port)
        # A hello of TLS 1.0, with one suite that only it has.
        body = b"\x03\x01" + os.urandom(32) + b"\0" + b"\0\x02\x00\x2f" + b"\x01\0"
        hello = b"\x01" + struct.pack(">I", len(body))[1:] + body
        raw.sendall(b"\x16\x03\x01" + struct.pack(">H", len(hello)) + hello)
        assert raw.recv(7)[:1] == b"\x15"
        raw.close()


def sessions_are_resumed_by_every_edge():
    with Edge(Upstream(), tls=True, edges=2) as edge:
        context = edge.tls_context(version=ssl.TLSVersion.TLSv1_3)
        session, resumed = None, 0
        for _ in range(8):  # two edges, one set of ticket keys
            wire = edge.connect_tls(context=context, session=session)
            assert ask(wire).status == 200
            resumed += wire.socket.session_reused
            session = wire.socket.session
            wire.close()
        assert resumed == 7, resumed


def a_session_of_one_name_is_nothing_to_another():
    with Edge(Upstream(), tls=True, hosts=["a.test", "b.test"]) as edge:
        context = edge.tls_context(version=ssl.TLSVersion.TLSv1_3)
        first = edge.connect_tls("a.test", context=context)
        assert ask(first, "a.test").status == 200
        other = edge.connect_tls("b.test", context=context, session=first.socket.session)
        assert ask(other, "b.test").status == 200 and not other.socket.session_reused


def each_name_gets_its_certificate_and_others_none():
    with Edge(Upstream(), tls=True, hosts=["a.test", "b.test", "*.w.test"]) as edge:
        for name, wanted in (("a.test", "a.test"), ("B.TEST", "b.test"), ("c.w.test", "*.w.test")):
            wire = edge.connect_tls(name)
            names = [value for kind, value in wire.socket.getpeercert()["subjectAltName"]]
            assert names == [wanted], names
        assert "UNRECOGNIZED_NAME" in refused(edge, "c.test")
        assert "UNRECOGNIZED_NAME" in refused(edge, "x.c.w.test")
        assert "UNRECOGNIZED_NAME" in refused(edge, None)
        for name, answer in (("a.test.", b"\x16"), ("c.test.", b"\x15")):  # a final dot is the same host
            plain = edge.open_socket(edge.tls_port)
            plain.sendall(hello_of(name))
            assert plain.recv(1) == answer
            plain.close()


def an_edge_without_certificates_says_so():
    with Edge(Upstream(), tls=True, snapshot=False) as edge:
        assert "UNRECOGNIZED_NAME" in refused(edge)


def silent_clients_are_closed():
    with Edge(Upstream(), tls=True, settings={"handshake_timeout_ms": 400}) as edge:
        silent, slow = Wire(edge.open_socket(edge.tls_port)), Wire(edge.open_socket(edge.tls_port))
        slow.send(b"\x16\x03\x01\x02\x00\x01\x00")
        begun = time.monotonic()
        assert silent.is_closed() and slow.is_closed()
        assert time.monotonic() - begun < 3
        edge.command("counters")
        assert int(edge.expect(r"tls edge 1 .* failures (\d+)").group(1)) == 2


def silent_clients_make_room():
    with Edge(Upstream(), tls=True, settings={"connection_limit": 40}) as edge:
        silent = [edge.open_socket(edge.tls_port) for _ in range(60)]
        time.sleep(0.3)
        assert ask(edge.connect_tls()).status == 200
        assert int(edge.counters().split("connections ")[1].split(" ")[0]) <= 41
        for one in silent:
            one.close()


def silent_clients_make_room_before_one_that_was_served():
    with Edge(Upstream(), tls=True, settings={"connection_limit": 40}) as edge:
        wires = [edge.connect_tls(), edge.connect_plain()]
        assert [ask(wire).status for wire in wires] == [200, 200]
        time.sleep(0.1)  # they are the ones that have been idle the longest
        silent = [edge.open_socket(port) for _ in range(40) for port in (edge.tls_port, edge.port)]
        time.sleep(0.3)
        assert [ask(wire).status for wire in wires] == [200, 200]
        for one in silent:
            one.close()


def garbage_is_no_handshake():
    with Edge(Upstream(), tls=True) as edge:
        for bytes_sent in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", os.urandom(300), b"\x16\x03\x01\0\0", b"\x80\x2e\x01"):
            wire = Wire(edge.open_socket(edge.tls_port))
            wire.send(bytes_sent)
            wire.socket.shutdown(socket.SHUT_WR)
            wire.read_end()
        assert ask(edge.connect_tls()).status == 200


def a_flood_of_one_address_holds_up_nobody_else():
    with Edge(Upstream(), tls=True, settings={"handshake_timeout_ms": 5000}) as edge:
        flood = [edge.open_socket(edge.tls_port) for _ in range(300)]
        for one in flood:
            one.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
        begun = time.monotonic()
        plain = socket.socket()
        plain.bind(("127.0.0.2", 0))
        plain.settimeout(10)
        plain.connect(("127.0.0.1", edge.tls_port))
        wire = Wire(edge.tls_context().wrap_socket(plain, server_hostname="x.test"))
        assert ask(wire).status == 200
        assert time.monotonic() - begun < 2
        # Its own waits for a place; when the flood goes, it has its turn.
        waiting = edge.open_socket(edge.tls_port)
        result = []
        thread = threading.Thread(target=lambda: result.append(
            edge.tls_context().wrap_socket(waiting, server_hostname="x.test")))
        thread.start()
        time.sleep(0.3)
        assert not result
        for one in flood:
            one.close()
        thread.join(10)
        assert ask(Wire(result[0])).status == 200
        result[0].close()
        wire.close()


def hello_of(name):
    """A client's first flight."""
    context, outgoing = ssl.create_default_context(), ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()


def requests_have_their_turn_among_handshakes():
    """The edge wakes up to many hellos with a request behind them: it is not served behind them all."""
    hello, shares = hello_of("x.test"), []
    with Edge(Upstream(), tls=True) as edge:
        wire = edge.connect_plain()
        for _ in range(3):
            assert ask(wire).status == 200
            flood = [edge.open_socket(edge.tls_port) for _ in range(120)]
            assert ask(wire).status == 200  # so that they are accepted
            os.kill(edge.pids[1], signal.SIGSTOP)
            for one in flood:
                one.sendall(hello)
            wire.send("GET / HTTP/1.1\r\nHost: x.test\r\n\r\n")
            begun = time.monotonic()
            os.kill(edge.pids[1], signal.SIGCONT)
            assert read_message(wire).status == 200
            served = time.monotonic() - begun
            for one in flood:
                one.settimeout(10)
                assert one.recv(1) == b"\x16"
            shares.append(served / (time.monotonic() - begun))
            for one in flood:
                one.close()
    assert min(shares) < 0.2, shares


def a_restart_of_the_signer_costs_no_handshake():
    with Edge(Upstream(), tls=True) as edge:
        edge.command("signer stop")
        edge.expect("exited signer")
        wires = []
        threads = [threading.Thread(target=lambda: wires.append(edge.connect_tls())) for _ in range(5)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        assert not wires
        edge.command("signer start")
        for thread in threads:
            thread.join(10)
        assert len(wires) == 5 and all(ask(wire).status == 200 for wire in wires)


def whoever_comes_alone_does_not_wait_behind_a_flood():
    hello, shares = hello_of("x.test"), []
    with Edge(Upstream(), tls=True) as edge:
        wire = edge.connect_plain()
        for _ in range(3):
            flood = [edge.open_socket(edge.tls_port, source="127.0.0.66") for _ in range(100)]
            alone = edge.open_socket(edge.tls_port)
            assert ask(wire).status == 200  # so that they are accepted
            time.sleep(0.3)  # and those of the round before forgotten
            os.kill(edge.pids[1], signal.SIGSTOP)
            for one in flood + [alone]:
                one.sendall(hello)
            begun = time.monotonic()
            os.kill(edge.pids[1], signal.SIGCONT)
            assert alone.recv(1) == b"\x16"
            served = time.monotonic() - begun
            for one in flood:
                assert one.recv(1) == b"\x16"
            shares.append(served / (time.monotonic() - begun))
            for one in flood + [alone]:
                one.close()
    assert min(shares) < 0.5, shares


def a_signer_that_dies_in_a_rush_costs_no_handshake():
    with Edge(Upstream(), tls=True) as edge:
        context, failures, counts, is_over = edge.tls_context(), [], [0] * 4, threading.Event()

        def rush(index):
            while not is_over.is_set():
                try:
                    context.wrap_socket(edge.open_socket(edge.tls_port), server_hostname="x.test").close()
                    counts[index] += 1
                except OSError as problem:
                    failures.append(repr(problem))

        threads = [threading.Thread(target=rush, args=(index,)) for index in range(len(counts))]
        for thread in threads:
            thread.start()
        for _ in range(25):
            time.sleep(0.03)
            restart_signer(edge)
        is_over.set()
        for thread in threads:
            thread.join(10)
        assert not failures and min(counts) > 25, (failures, counts)


def without_a_signer_handshakes_end_and_requests_go_on():
    with Edge(Upstream(), tls=True, settings={"handshake_timeout_ms": 500}) as edge:
        wire = edge.connect_tls()
        edge.command("signer stop")
        edge.expect("exited signer")
        begun = time.monotonic()
        refused(edge)
        assert 0.3 < time.monotonic() - begun < 3
        assert ask(wire).status == 200


def a_key_that_the_signer_lacks_is_refused():
    with Edge(Upstream(), tls=True, hosts=["a.test", "b.test"]) as edge:
        edge.command("renew a.test")  # its key goes to the next signer only
        edge.expect("ack")
        refused(edge, "a.test")
        assert ask(edge.connect_tls("b.test"), "b.test").status == 200
        restart_signer(edge)
        assert ask(edge.connect_tls("a.test"), "a.test").status == 200


def a_new_certificate_takes_no_connection_away():
    with Edge(Upstream(), tls=True, hosts=["a.test"]) as edge:
        before = edge.connect_tls("a.test")
        assert ask(before, "a.test").status == 200
        edge.command("renew a.test")
        edge.expect("ack")
        restart_signer(edge)
        after = edge.connect_tls("a.test")
        assert before.socket.getpeercert()["serialNumber"] != after.socket.getpeercert()["serialNumber"]
        assert ask(before, "a.test").status == 200 and ask(after, "a.test").status == 200


def many_certificates_are_taken_in_steps():
    with Edge(Upstream(), tls=True, options=["--hosts", "120"]) as edge:
        for _ in range(5):  # the last one counts, whatever is under way
            edge.command("publish")
        version = [edge.expect(r"published (\d+)").group(1) for _ in range(5)][-1]
        edge.expect("ack edge 1 version %s" % version)
        for name in ("h0.many.test", "h119.many.test"):
            assert ask(edge.connect_tls(name), name).status == 200


# ---- certificates that come while somebody waits


def a_certificate_on_demand_is_asked_for_once():
    with Edge(Upstream(), tls=True, hosts=["a.test", "new.test,on-demand"]) as edge:
        wires = []
        threads = [threading.Thread(target=lambda: wires.append(edge.connect_tls("new.test"))) for _ in range(4)]
        for thread in threads:
            thread.start()
        edge.expect("wanted edge 1 new.test")
        edge.expect_none("wanted", 0.4)
        edge.command("show new.test")
        for thread in threads:
            thread.join(10)
        assert len(wires) == 4 and all(ask(wire, "new.test").status == 200 for wire in wires)


def a_certificate_that_will_not_come_ends_the_handshake():
    with Edge(Upstream(), tls=True, hosts=["a.test", "new.test,on-demand", "hidden.test,hidden"]) as edge:
        errors = []
        thread = threading.Thread(target=lambda: errors.append(refused(edge, "new.test")))
        thread.start()
        edge.expect("wanted edge 1 new.test")
        edge.command("control restart")  # a new control hears of it again
        edge.expect("wanted edge 1 new.test")
        edge.command("refuse new.test")
        thread.join(10)
        assert "UNRECOGNIZED_NAME" in errors[0]
        assert "UNRECOGNIZED_NAME" in refused(edge, "hidden.test")


def waiting_clients_that_leave_are_forgotten():
    with Edge(Upstream(), tls=True, hosts=["a.test", "new.test,on-demand"]) as edge:
        waiting = edge.open_socket(edge.tls_port)
        waiting.sendall(hello_of("new.test"))
        edge.expect("wanted")
        waiting.close()
        deadline = time.monotonic() + 5
        while "connections 0 " not in edge.counters():
            assert time.monotonic() < deadline
        edge.command("show new.test")
        assert ask(edge.connect_tls("new.test"), "new.test").status == 200


# ---- proofs for certificate authorities


def proofs_are_answered_whatever_the_host():
    with Edge(Upstream(), tls=True, hosts=["a.test,redirect", "*,secure-only"],
              options=["--challenge", "tOken_1=tOken_1.thumb"]) as edge:
        path = "/.well-known/acme-challenge/"
        for host in ("a.test", "b.test", "127.0.0.1:80"):
            answer = ask(edge.connect_plain(), host, path=path + "tOken_1")
            assert (answer.status, answer.body) == (200, b"tOken_1.thumb"), host
        # Another token is the application's, and never redirected.
        assert ask(edge.connect_plain(), "a.test", path=path + "other").body == b"hello"
        assert ask(edge.connect_plain(), "a.test", path="/.well-known/x").status == 308
        assert ask(edge.connect_tls("a.test"), "a.test", path=path + "tOken_1").body == b"hello"


def proofs_by_alpn_get_their_certificate_and_nothing_else():
    with Edge(Upstream(), tls=True, hosts=["a.test", "b.test"]) as edge:
        context = edge.tls_context(protocols=["acme-tls/1"])
        context.verify_mode = ssl.CERT_NONE
        refused(edge, "a.test", context=context)
        edge.command("challenge a.test")
        edge.expect("ack")
        wire = edge.connect_tls("a.test", context=context)
        assert wire.socket.selected_alpn_protocol() == "acme-tls/1"
        assert bytes.fromhex("2b0601050507011f") in wire.socket.getpeercert(True)
        assert wire.is_closed()
        usual = edge.connect_tls("a.test")
        assert bytes.fromhex("2b0601050507011f") not in usual.socket.getpeercert(True)


# ---- who may ask for what


def other_hosts_are_misdirected():
    with Edge(Upstream(), tls=True, hosts=["a.test", "b.test", "*.w.test"]) as edge:
        wire = edge.connect_tls("a.test")
        for host in ("a.test", "A.test", "a.test:443", "a.test:%d" % edge.tls_port, "a.test.", "a.test.:8443"):
            assert ask(wire, host).status == 200, host
        for host in ("b.test", "b.test:443", "c.w.test", "nobody.test", "127.0.0.1"):
            answer = ask(wire, host)
            assert answer.status == 421, host
        assert ask(wire, "a.test").status == 200  # the connection goes on
        wild = edge.connect_tls("c.w.test")
        assert ask(wild, "d.w.test").status == 200  # one certificate, one policy
        assert ask(wild, "a.test").status == 421


def plain_requests_are_sent_to_https():
    with Edge(Upstream(), tls=True, hosts=["a.test,redirect", "new.test,redirect,hidden"]) as edge:
        port = edge.tls_port
        wire = edge.connect_plain()
        answer = ask(wire, "a.test:%d" % edge.port, path="/p/%7Ea?q=%2F&x")
        assert answer.status == 308
        assert answer.get("location") == "https://a.test:%d/p/~a?q=%%2F&x" % port, answer.get("location")
        wire.send("POST /form HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc")
        answer = read_message(wire)
        assert answer.status == 308 and answer.get("location") == "https://a.test:%d/form" % port
        assert ask(wire, "a.test", method="HEAD").status == 308
        assert ask(wire, "new.test").status == 200  # no certificate yet: plain answers on
        assert ask(edge.connect_tls("a.test"), "a.test").status == 200
        edge.command("show new.test")
        edge.expect("ack")
        assert ask(wire, "new.test").status == 308
        assert edge.upstreams[0].connections >= 1


def hosts_that_are_for_tls_alone_say_nothing_in_the_clear():
    with Edge(Upstream(), tls=True, hosts=["a.test,secure-only", "b.test"]) as edge:
        assert ask(edge.connect_plain(), "a.test").status == 403
        assert ask(edge.connect_plain(), "b.test").status == 200
        assert ask(edge.connect_tls("a.test"), "a.test").status == 200


def transport_security_is_promised_over_tls_only():
    value = "max-age=31536000"
    hsts = "strict-transport-security"
    own = answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nStrict-Transport-Security: max-age=1\r\n\r\nok")
    with Edge(Upstream(), tls=True, hosts=["a.test,hsts=" + value]) as edge:
        wire = edge.connect_tls("a.test")
        assert ask(wire, "a.test").all(hsts) == [value]
        assert ask(wire, "a.test", path="/a%zz").all(hsts) == []  # no route was looked for
        assert ask(edge.connect_plain(), "a.test").all(hsts) == []
    with Edge(Upstream(own), tls=True, hosts=["a.test,hsts=" + value]) as edge:
        assert ask(edge.connect_tls("a.test"), "a.test").all(hsts) == ["max-age=1"]
    with Edge(tls=True, hosts=["a.test,hsts=" + value]) as edge:
        answer = ask(edge.connect_tls("a.test"), "a.test")
        assert answer.status == 503 and answer.all(hsts) == [value]


FORGED = ("X-Client-Certificate-Subject: CN=root\r\nX_Client_Certificate_Subject: CN=root\r\n"
          "x-client_certificate-fingerprint: 00\r\nX-Client-Certificate-Fingerprint: 00\r\n"
          "X-Client-Certificate-Verify: SUCCESS\r\nX-Client-Certificate-Verified: yes\r\n"
          "X_CLIENT_Certificate-Serial-Number-In-Decimal: 1\r\n")


def clients_show_certificates():
    with Edge(Upstream(), tls=True, hosts=["a.test,client", "b.test,required", "c.test"]) as edge:
        context = edge.tls_context(certificate=edge.client_certificate())
        seen = lambda: {n.lower().replace("_", "-"): v for n, v in edge.upstreams[0].got().fields
                        if "certificate" in n.lower()}
        assert ask(edge.connect_tls("a.test"), "a.test", FORGED).status == 200
        assert seen() == {}
        wire = edge.connect_tls("a.test", context=context)
        assert ask(wire, "a.test", FORGED).status == 200
        got = seen()
        assert got["x-client-certificate-subject"] == "CN=client.test", got
        with open(edge.client_certificate()[0]) as file:
            import hashlib
            der = ssl.PEM_cert_to_DER_cert(file.read().split("-----END CERTIFICATE-----")[0] +
                                           "-----END CERTIFICATE-----\n")
        assert got["x-client-certificate-fingerprint"] == hashlib.sha256(der).hexdigest()
        assert got["x-client-certificate-verify"] == "SUCCESS"
        assert ask(edge.connect_tls("b.test"), "b.test").status == 403
        assert ask(edge.connect_plain(), "b.test").status == 403
        assert ask(edge.connect_tls("b.test", context=context), "b.test").status == 200
        seen()
        assert ask(edge.connect_plain(), "c.test", FORGED).status == 200
        assert seen() == {}
        # One who has shown a certificate to one host is nobody to another.
        assert ask(wire, "b.test").status == 421


def certificates_of_strangers_count_for_nothing():
    with Edge(Upstream(), tls=True, hosts=["b.test,required"]) as edge, \
            Edge(Upstream(), tls=True, hosts=["other.test"]) as other:
        context = edge.tls_context(certificate=other.client_certificate())
        assert ask(edge.connect_tls("b.test", context=context), "b.test").status == 403


# ---- data


def bodies_of_any_size_pass_over_tls():
    def echo(wire, upstream):
        while True:
            request = read_message(wire)
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(request.body))
            wire.send(request.body)

    with Edge(Upstream(echo), tls=True) as edge:
        wire = edge.connect_tls()
        for size in (0, 1, 16383, 16384, 16385, 65536, 200000, 5000000):
            body = os.urandom(size)
            wire.send("POST / HTTP/1.1\r\nHost: x.test\r\nContent-Length: %d\r\n\r\n" % size)
            wire.send(body)
            assert read_message(wire).body == body, size


def files_pass_over_tls_to_slow_readers():
    folder = tempfile.mkdtemp(prefix="slipway-files-")
    content = os.urandom(3000000)
    with open(os.path.join(folder, "big.bin"), "wb") as file:
        file.write(content)
    try:
        with Edge(site=folder, tls=True) as edge:
            wire = edge.connect_tls(receive_buffer=8192)
            wire.send("GET /big.bin HTTP/1.1\r\nHost: x.test\r\n\r\n")
            time.sleep(0.3)
            assert read_message(wire).body == content
            wire.send("GET /big.bin HTTP/1.1\r\nHost: x.test\r\nRange: bytes=1000000-1999999\r\n\r\n")
            assert read_message(wire).body == content[1000000:2000000]
    finally:
        os.unlink(os.path.join(folder, "big.bin"))
        os.rmdir(folder)


def a_cut_answer_does_not_look_whole():
    def cut(wire, upstream):
        upstream.next(wire)
        wire.send("HTTP/1.1 200 OK\r\n\r\npart of it")
        time.sleep(0.2)
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.close()

    with Edge(Upstream(cut), tls=True) as edge:
        wire = edge.connect_tls()
        wire.send("GET / HTTP/1.0\r\nHost: x.test\r\n\r\n")
        data, how = wire.read_end()
        assert data.endswith(b"part of it") and how in ("cut", "reset"), (data, how)


def leaving_clients_hear_goodbye():
    edge = Edge(Upstream(), tls=True)
    try:
        wire = edge.connect_tls()
        assert ask(wire).status == 200
        edge.command("quit 2000")
        assert wire.read_end() == (b"", "end")
    finally:
        edge.stop()


# ---- PROXY headers


def proxy1(source="192.0.2.7", port=4711):
    return ("PROXY TCP4 %s 198.51.100.1 %d 443\r\n" % (source, port)).encode()


def proxy2(source="192.0.2.7", port=4711, tlvs=b"", command=0x21):
    body = socket.inet_aton(source) + socket.inet_aton("198.51.100.1") + struct.pack(">HH", port, 443) + tlvs
    return PREFACE2 + bytes([command, 0x11]) + struct.pack(">H", len(body)) + body


def proxies_in_front_say_who_it_is():
    with Edge(Upstream(), tls=True, options=["--proxy", "127.0.0.1"]) as edge:
        for header in (proxy1(), proxy2(), proxy2(tlvs=b"\x04\0\x03abc")):
            wire = edge.connect_plain()
            wire.send(header + b"GET / HTTP/1.1\r\nHost: x.test\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n")
            assert read_message(wire).status == 200
            seen = edge.upstreams[0].got()
            assert seen.all("x-forwarded-for") == ["192.0.2.7"] and seen.get("x-forwarded-port") == "443"
            wire = edge.connect_tls(before=header)
            assert ask(wire).status == 200
            seen = edge.upstreams[0].got()
            assert seen.all("x-forwarded-for") == ["192.0.2.7"] and seen.get("x-forwarded-proto") == "https"
            assert last_record(edge)["client"] == "192.0.2.7"


def a_proxy_header_may_come_in_pieces():
    with Edge(Upstream(), options=["--proxy", "127.0.0.1"]) as edge:
        wire = edge.connect_plain()
        for byte in proxy2("192.0.2.9"):
            wire.send(bytes([byte]))
            time.sleep(0.005)
        assert ask(wire).status == 200
        assert edge.upstreams[0].got().get("x-forwarded-for") == "192.0.2.9"


def a_proxy_of_no_client_is_itself():
    with Edge(Upstream(), options=["--proxy", "127.0.0.1"]) as edge:
        for header in (b"PROXY UNKNOWN\r\n", proxy2(command=0x20)):
            wire = edge.connect_plain()
            wire.send(header)
            assert ask(wire).status == 200
            assert edge.upstreams[0].got().get("x-forwarded-for") == "127.0.0.1"


def networks_of_proxies_have_to_send_it_and_others_may_not():
    with Edge(Upstream(), options=["--proxy", "127.0.0.1"], tls=True, settings={"handshake_timeout_ms": 500}) as edge:
        wire = edge.connect_plain()
        wire.send("GET / HTTP/1.1\r\nHost: x.test\r\n\r\n")
        assert wire.is_closed(3)
        silent = edge.connect_plain()
        silent.send(b"PROXY TCP4")
        assert silent.is_closed(3)
        for bad in (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 99999\r\n", proxy2(tlvs=b"\x03\0\x04abcd")):
            wire = edge.connect_plain()
            wire.send(bad)
            assert wire.is_closed(3), bad
        refused(edge)
        assert edge.upstreams[0].connections == 0
    with Edge(Upstream(), options=["--proxy", "10.0.0.0/8"], tls=True) as edge:
        wire = edge.connect_plain()
        wire.send(proxy1() + b"GET / HTTP/1.1\r\nHost: x.test\r\n\r\n")
        assert read_message(wire).status == 400
        refused(edge, before=proxy1())
        assert ask(edge.connect_tls()).status == 200
        assert edge.upstreams[0].got().get("x-forwarded-for") == "127.0.0.1"


def limits_of_an_address_follow_the_proxy_header():
    with Edge(Upstream(), options=["--proxy", "127.0.0.1"], settings={"connection_limit_per_client": 2}) as edge:
        def connection(source):
            wire = edge.connect_plain()
            wire.send(proxy1(source))
            return wire

        kept = [connection("192.0.2.%d" % (1 + i % 2)) for i in range(4)]
        assert all(ask(wire).status == 200 for wire in kept)
        assert connection("192.0.2.1").is_closed(3)
        kept.pop(0).close()
        deadline = time.monotonic() + 5
        while "connections 3 " not in edge.counters():
            assert time.monotonic() < deadline
        assert ask(connection("192.0.2.1")).status == 200


def upstreams_are_told_by_proxy_headers():
    headers = []

    def proxied(wire, upstream):
        if upstream.version == 1:
            headers.append(wire.read_until(b"\r\n"))
        else:
            head = wire.read_exactly(16)
            headers.append(head + wire.read_exactly(struct.unpack(">H", head[14:])[0]))
        while True:
            upstream.next(wire)
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    for version in (1, 2):
        upstream = Upstream(proxied)
        upstream.version = version
        with Edge(upstream, settings={"upstream_proxy_version": version}, tls=True) as edge:
            wire = edge.connect_plain()
            port = wire.socket.getsockname()[1]
            assert ask(wire).status == 200 and ask(wire).status == 200
            assert upstream.connections == 2  # never shared, not even with itself
            if version == 1:
                wanted = b"PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n" % (port, edge.port)
            else:
                wanted = (PREFACE2 + b"\x21\x11\0\x0c" + socket.inet_aton("127.0.0.1") * 2 +
                          struct.pack(">HH", port, edge.port))
            assert headers[-2:] == [wanted, wanted], (headers, wanted)
            wire = edge.connect_plain()
            wire.send("POST / HTTP/1.1\r\nHost: x.test\r\nContent-Length: 100000\r\n\r\n" + "p" * 100000)
            assert read_message(wire).status == 200


# ---- trusted proxies


def forwarded(edge, extra, wire=None):
    assert ask(wire or edge.connect_plain(), extra=extra).status == 200
    return edge.upstreams[0].got()


def trusted_proxies_may_tell_who_it_is():
    with Edge(Upstream(), options=["--trusted", "127.0.0.0/8", "--trusted", "10.0.0.0/8"], tls=True) as edge:
        seen = forwarded(edge, "X-Forwarded-For: 6.6.6.6, 192.0.2.1, 10.0.0.3\r\nX-Forwarded-Proto: https\r\n"
                               "X-Forwarded-Host: shop.test\r\nX-Forwarded-Port: 8443\r\nX-Real-IP: 6.6.6.6\r\n")
        assert seen.all("x-forwarded-for") == ["6.6.6.6, 192.0.2.1, 10.0.0.3, 127.0.0.1"]
        assert seen.all("x-real-ip") == ["192.0.2.1"] and seen.all("x-forwarded-proto") == ["https"]
        assert seen.all("x-forwarded-host") == ["shop.test"] and seen.all("x-forwarded-port") == ["8443"]
        assert last_record(edge)["client"] == "192.0.2.1"
        # Several lines are one list.
        seen = forwarded(edge, "X-Forwarded-For: 6.6.6.6\r\nAccept: */*\r\nX-Forwarded-For: 192.0.2.2, 10.1.1.1\r\n")
        assert seen.all("x-forwarded-for") == ["6.6.6.6, 192.0.2.2, 10.1.1.1, 127.0.0.1"]
        assert seen.get("x-real-ip") == "192.0.2.2"
        # What is no address ends the walk; nobody but the one who said it is known.
        assert forwarded(edge, "X-Forwarded-For: 192.0.2.1, junk, 10.0.0.9\r\n").get("x-real-ip") == "10.0.0.9"
        assert forwarded(edge, "X-Forwarded-For: [2001:db8::1]:4711, 10.0.0.9\r\n").get("x-real-ip") == "2001:db8::1"
        assert forwarded(edge, "X-Forwarded-For: 10.0.0.8\r\n").get("x-real-ip") == "10.0.0.8"
        seen = forwarded(edge, "X-Forwarded-Proto: gopher\r\nX-Forwarded-Host: a b\r\nX-Forwarded-Port: x\r\n")
        assert seen.get("x-forwarded-proto") == "http" and seen.get("x-forwarded-host") == "x.test"
        assert seen.get("x-forwarded-port") == str(edge.port) and seen.get("x-real-ip") == "127.0.0.1"


def forwarded_is_carried_on():
    with Edge(Upstream(), options=["--trusted", "127.0.0.0/8"]) as edge:
        seen = forwarded(edge, 'Forwarded: for="_a,b";proto=http, For="[2001:db8::1]:47011";by=10.0.0.1\r\n')
        assert seen.all("forwarded") == ['for="_a,b";proto=http, For="[2001:db8::1]:47011";by=10.0.0.1, '
                                         'for=127.0.0.1;host="x.test";proto=http'], seen.all("forwarded")
        assert seen.get("x-real-ip") == "2001:db8::1"
        assert forwarded(edge, "Forwarded: for=unknown\r\n").get("x-real-ip") == "127.0.0.1"
        # X-Forwarded-For is what counts where both are.
        assert forwarded(edge, "Forwarded: for=6.6.6.6\r\nX-Forwarded-For: 192.0.2.1\r\n").get("x-real-ip") == "192.0.2.1"
        assert forwarded(edge, "").all("forwarded") == []


def strangers_tell_nothing():
    lies = ("X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n"
            "X-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\nX_Forwarded_For: 6.6.6.6\r\n")
    with Edge(Upstream(), options=["--trusted", "10.0.0.0/8"]) as edge:
        seen = forwarded(edge, lies)
        assert seen.all("x-forwarded-for") == ["127.0.0.1"] and seen.all("forwarded") == []
        assert seen.all("x-real-ip") == ["127.0.0.1"] and seen.all("x-forwarded-proto") == ["http"]
        assert seen.all("x-forwarded-host") == ["x.test"] and seen.all("x-forwarded-port") == [str(edge.port)]
        assert seen.all("x_forwarded_for") == []


def https_at_a_trusted_proxy_is_https():
    with Edge(Upstream(), options=["--trusted", "127.0.0.1"], tls=True, hosts=["x.test,redirect"]) as edge:
        assert forwarded(edge, "X-Forwarded-Proto: https\r\n").get("x-forwarded-proto") == "https"
        assert ask(edge.connect_plain(), extra="X-Forwarded-Proto: http\r\n").status == 308
        # A proxy in front may have passed a stranger's word on; its own stands behind it.
        assert ask(edge.connect_plain(), extra="X-Forwarded-Proto: https, http\r\n").status == 308
        seen = forwarded(edge, "Forwarded: for=6.6.6.6;proto=http, for=192.0.2.7;Proto=https\r\n")
        assert seen.get("x-forwarded-proto") == "https" and seen.get("x-real-ip") == "192.0.2.7"
        assert seen.all("x-forwarded-for") == ["192.0.2.7, 127.0.0.1"]
        assert ask(edge.connect_plain(), extra="Forwarded: for=6.6.6.6;proto=https, for=192.0.2.7;proto=http\r\n").status == 308


# ---- upstreams that speak TLS


class SecureUpstream(Upstream):
    """Speaks TLS with the certificate of client.test, by the authority of the edge that it belongs to."""

    def __init__(self):
        self.context = None
        self.resumed = []
        super().__init__(self.secure)

    def secure(self, wire, upstream):
        wire.socket = self.context.wrap_socket(wire.socket, server_side=True, suppress_ragged_eofs=False)
        self.resumed.append(wire.socket.session_reused)
        while True:
            self.next(wire)
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")

    def certify(self, edge):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*edge.client_certificate())


def upstreams_speak_tls():
    upstream = SecureUpstream()
    with Edge(upstream, tls=True, options=["--upstream-tls", "client.test"],
              settings={"upstream_keepalive_ms": 300}) as edge:
        upstream.certify(edge)
        wire = edge.connect_plain()
        for _ in range(3):
            assert ask(wire).body == b"secret"
        assert upstream.connections == 1  # pooled
        assert ask(edge.connect_tls()).body == b"secret"
        time.sleep(1.2)
        assert ask(wire).body == b"secret"
        assert upstream.connections == 2 and upstream.resumed == [False, True], upstream.resumed
        body = "b" * 300000
        wire.send("POST / HTTP/1.1\r\nHost: x.test\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        assert read_message(wire).status == 200


def upstreams_that_are_somebody_else_get_nothing():
    upstream = SecureUpstream()
    with Edge(upstream, tls=True, options=["--upstream-tls", "other.test"]) as edge:
        upstream.certify(edge)
        answer = ask(edge.connect_plain())
        assert answer.status == 502 and b"upstream TLS: " in answer.body, answer.body
        assert upstream.seen.empty()
        assert last_record(edge)["reason"].startswith("upstream TLS: ")
    upstream = SecureUpstream()
    with Edge(upstream, tls=True, options=["--upstream-tls", "client.test", "--upstream-ca", "system"]) as edge:
        upstream.certify(edge)
        answer = ask(edge.connect_plain())  # nobody's authority
        assert answer.status == 502 and b"issuer" in answer.body, answer.body
    upstream = SecureUpstream()
    with Edge(upstream, tls=True, options=["--upstream-tls", ""]) as edge:
        upstream.certify(edge)
        assert ask(edge.connect_plain()).body == b"secret"  # asked for: not verified
    plain = Upstream(lambda wire, upstream: wire.send("HTTP/1.1 400 Bad Request\r\n\r\n"))
    with Edge(plain, tls=True, options=["--upstream-tls", "client.test"]) as edge:
        assert ask(edge.connect_plain()).status == 502  # it does not speak TLS at all


def upstreams_that_do_not_shake_hands_time_out():
    def silent(wire, upstream):
        time.sleep(3)

    with Edge(Upstream(silent), tls=True, options=["--upstream-tls", "client.test"],
              settings={"connect_timeout_ms": 400}) as edge:
        begun = time.monotonic()
        assert ask(edge.connect_plain()).status == 504
        assert time.monotonic() - begun < 2.5


def a_cut_answer_of_a_secure_upstream_is_not_whole():
    class Cutting(SecureUpstream):
        def secure(self, wire, upstream):
            plain = wire.socket
            wire.socket = self.context.wrap_socket(plain, server_side=True)
            self.next(wire)
            wire.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf")
            time.sleep(0.1)
            os.close(wire.socket.detach())  # the end of file, without close_notify

    upstream = Cutting()
    with Edge(upstream, tls=True, options=["--upstream-tls", "client.test"]) as edge:
        upstream.certify(edge)
        wire = edge.connect_plain()
        wire.send("GET / HTTP/1.1\r\nHost: x.test\r\n\r\n")
        message = edge_world.Message(wire.read_until(b"\r\n\r\n"))
        assert message.get("transfer-encoding") == "chunked"
        data, _ = wire.read_end()
        assert b"half" in data and not data.endswith(b"0\r\n\r\n"), data


TESTS = [value for value in list(globals().values())
         if getattr(value, "__code__", None) and value.__module__ == "__main__" and value.__code__.co_argcount == 0
         and value.__name__ != "main"]


if __name__ == "__main__":
    sys.exit(edge_world.run(TESTS, sys.argv[1], sys.argv[2:]))
