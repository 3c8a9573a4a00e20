"""Which proxy a request uses, and which certificates it trusts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from provisioner.errors import ConfigurationError
from provisioner.remote.proxies import Proxies
from provisioner.remote.tls import tls_context

if TYPE_CHECKING:
    from pathlib import Path

PROXIES = Proxies("http://plain:3128", "http://secure:3128")


def test_each_scheme_has_its_proxy() -> None:
    """HTTP_PROXY applies to http, HTTPS_PROXY to https, and neither to another scheme."""
    assert PROXIES.for_url("http://a.example/x") == "http://plain:3128"
    assert PROXIES.for_url("https://a.example/x") == "http://secure:3128"
    assert PROXIES.for_url("file:///x") is None
    assert Proxies().for_url("https://a.example") is None
    assert Proxies(https="").for_url("https://a.example") is None


def test_a_proxy_without_a_scheme_is_an_http_proxy() -> None:
    """A proxy may be written without `http://`, as most tools accept it."""
    assert Proxies(https="proxy:3128").for_url("https://a.example") == "http://proxy:3128"


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("*", "https://a.example", True),
        ("a.example", "https://a.example/x", True),
        ("a.example", "https://A.EXAMPLE.", True),
        ("a.example", "https://sub.a.example", True),
        (".a.example", "https://sub.a.example", True),
        ("*.a.example", "https://sub.a.example", True),
        ("a.example", "https://ba.example", False),
        ("b.example, a.example", "https://a.example", True),
        ("a.example:8443", "https://a.example:8443", True),
        ("a.example:8443", "https://a.example", False),
        ("a.example:443", "https://a.example", True),
        ("127.0.0.1", "http://127.0.0.1:8900/x", True),
        ("10.0.0.0/8", "http://10.1.2.3", True),
        ("10.0.0.0/8", "http://11.1.2.3", False),
        ("[::1]", "http://[::1]:8900", True),
        ("::1", "http://[::1]:8900", True),
        ("127.0.0.1:8900", "http://127.0.0.1:8900", True),
        ("0.1", "http://10.0.0.1", False),
        (",,", "https://a.example", False),
        ("", "https://a.example", False),
        ("files.example.org:\u00b2", "http://files.example.org/f", False),
        ("files.example.org:\u0661", "http://files.example.org:1/f", False),
        (f"files.example.org:{'9' * 5000}", "http://files.example.org/f", False),
        ("files.example.org:0080", "http://files.example.org/f", True),
    ],
)
def test_no_proxy(no_proxy: str, url: str, direct: bool) -> None:
    """Hosts, domains, ports, addresses and networks in NO_PROXY are reached directly."""
    assert (PROXIES._replace(no_proxy=no_proxy).for_url(url) is None) is direct


def test_a_certificate_file_that_is_none_is_a_wrong_setting(tmp_path: Path) -> None:
    """A missing file and one without certificates raise an error that names the setting."""
    empty = tmp_path / "empty.pem"
    empty.write_text("no certificate\n", "utf-8")
    for path in (empty, tmp_path / "missing.pem"):
        with pytest.raises(ConfigurationError, match="SSL_CERT_FILE"):
            tls_context(path)
