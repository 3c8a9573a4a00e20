"""Which URL is requested in place of another, and whose credentials go where."""

from __future__ import annotations

import pytest

from provisioner.errors import RemoteRefusedError
from provisioner.redaction import user_of, with_user, without_user
from provisioner.remote.rewriting import Rewriting
from provisioner.remote.urls import login_headers

RULES = [
    ("https://a.example/big", "file:///mnt/big%20files"),
    ("https://a.example", "http://u:p@mirror.local/a"),
    ("https://joe:x@b.example/", "http://mirror.local/b/"),
    ("https://c.example/", "file:///mnt/c/"),
]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.example/x?y#z", "http://u:p@mirror.local/a/x?y#z"),
        ("https://a.example", "http://u:p@mirror.local/a"),
        ("https://a.example?y", "http://u:p@mirror.local/a?y"),
        ("https://a.example.evil.org/x", "https://a.example.evil.org/x"),
        ("https://a.example@evil.org/x", "https://a.example@evil.org/x"),
        ("https://a.example:8443/x", "https://a.example:8443/x"),
        ("https://a.example/big/x", "file:///mnt/big%20files/x"),
        ("https://me:mine@a.example/x", "http://u:p@mirror.local/a/x"),
        ("https://me:mine@other.example/x", "https://me:mine@other.example/x"),
        ("https://b.example/x", "http://u:p@mirror.local/b/x"),
        ("http://mirror.local/elsewhere", "http://u:p@mirror.local/elsewhere"),
        ("http://mirror.local:81/x", "http://mirror.local:81/x"),
        ("https://mirror.local/x", "https://mirror.local/x"),
        ("http://own:one@mirror.local/x", "http://own:one@mirror.local/x"),
        ("http://hub.local/api", "http://h:w@hub.local/api"),
        ("http://hub.local:80/api", "http://h:w@hub.local:80/api"),
        ("http://hub.local.evil.org/api", "http://hub.local.evil.org/api"),
    ],
)
def test_what_is_requested(url: str, expected: str) -> None:
    """A rule is for its host alone; credentials are for their origin alone, and never leave with another rule's."""
    assert Rewriting(RULES, ["http://h:w@hub.local"])(url) == expected


@pytest.mark.parametrize("rest", ["../x", "a/../../x", "%2e%2e/x", "a/%2E./x", "a%2f..%2fx", "..%5cx", ".."])
def test_a_directory_is_not_left(rest: str) -> None:
    """What a server or catalog names stays below the directory that the user named."""
    with pytest.raises(RemoteRefusedError, match="would lead out of it"):
        Rewriting(RULES)(f"https://c.example/{rest}")


@pytest.mark.parametrize(
    ("url", "user", "plain"),
    [
        ("https://u:p@h/x@y", "u:p", "https://h/x@y"),
        ("https://h/x@y", None, "https://h/x@y"),
        ("https://h?x=a@b", None, "https://h?x=a@b"),
        ("https://u@h", "u", "https://h"),
        ("https://u:p%40@h:1#@", "u:p%40", "https://h:1#@"),
        ("https://a@b@h/", "a@b", "https://h/"),
        ("https://@h/", None, "https://h/"),
        ("u:p@h", None, "u:p@h"),
        ("https://u:p@[::1]:8/x", "u:p", "https://[::1]:8/x"),
    ],
)
def test_the_user_of_a_url(url: str, user: str | None, plain: str) -> None:
    """The user is what stands before the last ``@`` of host and port."""
    assert (user_of(url), without_user(url)) == (user, plain)
    if user is not None:
        assert with_user(plain, user) == url


def test_what_is_sent() -> None:
    """User and password as they are meant, not as a URL writes them; without a password an empty one."""
    assert login_headers("https://j%C3%B6e:p%40%3A@h/") == {"authorization": "Basic asO2ZTpwQDo="}
    assert login_headers("https://token@h/") == {"authorization": "Basic dG9rZW46"}
    assert login_headers("https://h/") == {}
