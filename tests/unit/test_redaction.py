"""Redaction: known secrets, and what has the form of one, are removed from every text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.redaction import Redactor, redact_line, redact_urls

HIDDEN = "not-a-real-token-0123456789"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://u:p@host.local/a", "https://***@host.local/a"),
        ("http://token-alone@host.local:8080", "http://***@host.local:8080"),
        ("https://u:p@ss@host.local/a@b", "https://***@host.local/a@b"),
        ("https://host.local/a@v1?recursive=true&limit=5", "https://host.local/a@v1?recursive=true&limit=5"),
        ("GET /a?X-Amz-Signature=abc&X-Amz-Date=1&x=2", "GET /a?X-Amz-Signature=***&X-Amz-Date=***&x=2"),
        (
            "https://h.local/a?Policy=a_b~&Key-Pair-Id=K&Signature=s&Expires=1",
            "https://h.local/a?Policy=***&Key-Pair-Id=***&Signature=***&Expires=***",
        ),
        ("https://h.local/a?sv=2020&sig=a%2Fb%3D&se=x", "https://h.local/a?sv=***&sig=***&se=***"),
        ("'https://h.local/a?token=abc'", "'https://h.local/a?token=***'"),
        ("https://bucket.s3.amazonaws.com/k?anything=abc&b=c", "https://bucket.s3.amazonaws.com/k?***"),
        ("<https://d1.cloudfront.net/k?abc>", "<https://d1.cloudfront.net/k?***>"),
        ("https://cas-bridge.xethub.hf.co/x?q=1", "https://cas-bridge.xethub.hf.co/x?***"),
        ("https://cdn-lfs-us-1.hf.co/x?q=1", "https://cdn-lfs-us-1.hf.co/x?***"),
        ("{'authorization': 'Bearer abc.def'}", "{'authorization': 'Bearer ***'}"),
        ("Authorization: Basic dXNlcjpw", "Authorization: Basic ***"),
        ("curl -H 'Proxy-Authorization: Basic dXNlcjpw'", "curl -H 'Proxy-Authorization: Basic ***'"),
        ("hf_" + "a1B2" * 8, "hf_***"),
        ("hf_hub_download of hf_transfer", "hf_hub_download of hf_transfer"),
        ("PHASE=minimal; sp=4", "PHASE=minimal; sp=4"),
        ("", ""),
    ],
)
def test_forms_of_secrets(text: str, expected: str) -> None:
    """Everything that has the form of a secret is replaced; the rest of the text stays."""
    assert redact_urls(text) == expected
    assert redact_urls(expected) == expected


def test_known_secrets() -> None:
    """A known secret is replaced, also in its form in a URL, and also when it begins with another secret."""
    redactor = Redactor(["secret", "secret and more"])
    redactor.add("später")
    assert redactor.redact("a secret, secret and more, secret%20and%20more, secret+and+more") == "a ***, ***, ***, ***"
    assert redactor.redact("/path?x=sp%C3%A4ter") == "/path?x=***"


def test_too_short_to_hide() -> None:
    """A secret of fewer than four characters is ignored, because replacing it would make every text unreadable."""
    assert Redactor(["", "a"]).redact("abacus") == "abacus"


@given(secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=4), before=st.text(), after=st.text())
def test_any_secret_goes(secret: str, before: str, after: str) -> None:
    """A known secret is removed wherever it occurs."""
    assert "*" in secret or secret not in Redactor([secret]).redact(f"{before}{secret}{after}").replace("***", "")


@given(st.text())
def test_redaction_accepts_any_text(text: str) -> None:
    """No text makes the redaction fail."""
    assert isinstance(Redactor([HIDDEN]).redact(text), str)


def test_redaction_is_quick() -> None:
    """A long text that almost matches takes no time: the names in an archive may be hostile."""
    for text in ("://" * 50_000, "https://" + "a." * 100_000, "?token" * 50_000, "bearer " * 50_000, "authorization:" * 50_000):
        redact_urls(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET https://cdn.example/a?X-Amz-Signature=abc failed", "GET https://cdn.example/a?… failed"),
        ("http://user:word@proxy:3128 refuses", "http://proxy:3128 refuses"),
        ("Bearer secret-word sent", "Bearer *** sent"),
        ("the token hf_" + "x" * 30 + " is bad", "the token *** is bad"),
        ("two\n lines", "two lines"),
        ("'https://a.example/x?y=z'", "'https://a.example/x?…'"),
        ("plain https://a.example/x stays", "plain https://a.example/x stays"),
    ],
)
def test_redaction_of_a_line(text: str, shown: str) -> None:
    """Credentials, signatures and tokens are removed from a library's message; addresses stay readable."""
    assert redact_line(text) == shown


def test_redaction_of_a_line_removes_given_secrets() -> None:
    """A secret that is given is removed, whatever its form."""
    assert redact_line("x my-secret y", "my-secret", None) == "x *** y"
