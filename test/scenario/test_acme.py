"""The ACME client against real CAs (pebble), with their faults and ours."""
import pytest

import acme_lab


@pytest.fixture
def lab():
    lab = acme_lab.Lab()
    try:
        yield lab
    finally:
        lab.close()


@pytest.mark.parametrize("challenge", ["http-01", "tls-alpn-01", "auto"])
def test_a_certificate_is_issued(lab, challenge):
    pebble = lab.pebble()
    client = lab.client()
    client.want("www.site.localhost", "site.localhost", cas=[pebble.ca(email="a@example.org")], challenge=challenge)
    got = client.certificate("www.site.localhost")
    assert acme_lab.names_of(got["chain"]) == ["site.localhost", "www.site.localhost"]
    assert acme_lab.verifies(got["chain"], pebble.roots())
    assert acme_lab.key_matches(got["chain"], got["key"])
    status = client.status("www.site.localhost")
    assert status["state"] == "valid" and status["last_error"] is None
    assert status["directory"] == pebble.directory
