"""References: what each form means, offline, and the message for each that is malformed."""

from __future__ import annotations

from typing import Any

import pytest

from provisioner.catalog.bucket_source import BucketSource
from provisioner.catalog.hub_source import HubSource
from provisioner.catalog.references import is_reference, parse_reference
from provisioner.catalog.url_source import UrlSource
from provisioner.errors import ConfigurationError

HUB = "https://hub.example"
SHA256 = "ab" * 32


def hub(text: str) -> HubSource:
    """Return the repository that a reference names."""
    source = parse_reference(text, HUB).source
    assert isinstance(source, HubSource)
    return source


def url(text: str) -> UrlSource:
    """Return the file that a reference names."""
    source = parse_reference(text, HUB).source
    assert isinstance(source, UrlSource)
    return source


BUCKETS = [
    # Written, its usual form, globs.
    ("hf://buckets/o/n", "hf://buckets/o/n", ()),
    ("hf://buckets/o/n/", "hf://buckets/o/n", ()),
    ("hf://buckets/o/n/a/*.csv#include=b%2F&name=x", "hf://buckets/o/n/a/*.csv#include=b/&name=x", ("a/*.csv", "b/")),
    ("hf://buckets/o/n/a@b.csv", "hf://buckets/o/n/a@b.csv", ("a@b.csv",)),
    ("https://hub.example/buckets/o/n", "hf://buckets/o/n", ()),
    ("https://huggingface.co/buckets/o/n/tree/a/b", "hf://buckets/o/n/a/b/", ("a/b/",)),
    ("https://hub.example/buckets/o/n/resolve/a/b.csv?download=1", "hf://buckets/o/n/a/b.csv", ("a/b.csv",)),
]


@pytest.mark.parametrize(("written", "usual", "globs"), BUCKETS)
def test_buckets(written: str, usual: str, globs: tuple[str, ...]) -> None:
    """A bucket by the Hub client's own address, or a browser's; its usual form means the same."""
    reference = parse_reference(written, HUB)
    assert reference.text == usual
    assert parse_reference(usual, HUB).source == reference.source
    assert isinstance(reference.source, BucketSource)
    assert (reference.source.bucket, reference.source.include) == ("o/n", globs)
    assert reference.names in {("o/n", "buckets/o/n"), ("x",)}


REPOSITORIES: list[tuple[str, str, dict[str, Any]]] = [
    # Written, its usual form, what differs from all files of `main` of the data-set repository o/n.
    ("hf://datasets/o/n", "hf://datasets/o/n", {}),
    ("HF://datasets/o/n/", "hf://datasets/o/n", {}),
    ("hf://datasets/o/n@main", "hf://datasets/o/n", {}),
    ("hf://datasets/o/n@v1.2", "hf://datasets/o/n@v1.2", {"revision": "v1.2"}),
    ("hf://datasets/o/n@refs%2Fpr%2F1", "hf://datasets/o/n@refs/pr/1", {"revision": "refs/pr/1"}),
    ("hf://datasets/o/n@refs/convert/parquet", "hf://datasets/o/n@refs/convert/parquet", {"revision": "refs/convert/parquet"}),
    (
        "hf://datasets/o/n@refs/convert/parquet/default/train/",
        "hf://datasets/o/n@refs/convert/parquet/default/train/",
        {"revision": "refs/convert/parquet", "include": ("default/train/",)},
    ),
    ("hf://datasets/o/n@feature%2Fx/a", "hf://datasets/o/n@feature%2Fx/a", {"revision": "feature/x", "include": ("a",)}),
    ("hf://datasets/o/n/data/", "hf://datasets/o/n/data/", {"include": ("data/",)}),
    ("hf://datasets/o/n/data/*.parquet", "hf://datasets/o/n/data/*.parquet", {"include": ("data/*.parquet",)}),
    ("hf://datasets/o/n/data/a@b.csv", "hf://datasets/o/n/data/a@b.csv", {"include": ("data/a@b.csv",)}),
    ("hf://datasets/o/n@v1/x?[ab].csv", "hf://datasets/o/n@v1/x?[ab].csv", {"revision": "v1", "include": ("x?[ab].csv",)}),
    # Parts that the repository's card describes.
    ("hf://datasets/o/n:train", "hf://datasets/o/n:train", {"parts": ("train",)}),
    ("hf://datasets/o/n@v1:en/train", "hf://datasets/o/n@v1:en/train", {"revision": "v1", "parts": ("en/train",)}),
    ("hf://datasets/o/n@refs/pr/7:train", "hf://datasets/o/n@refs/pr/7:train", {"revision": "refs/pr/7", "parts": ("train",)}),
    ("hf://datasets/o/n@a%2Fb:train", "hf://datasets/o/n@a%2Fb:train", {"revision": "a/b", "parts": ("train",)}),
    ("hf://datasets/o/n:test+train+test", "hf://datasets/o/n:test+train", {"parts": ("test", "train")}),
    ("hf://datasets/o/n:train.clean.100", "hf://datasets/o/n:train.clean.100", {"parts": ("train.clean.100",)}),
    ("hf://datasets/o/n:a%2Cb%20c%2Bd%40e", "hf://datasets/o/n:a%2Cb%20c%2Bd%40e", {"parts": ("a,b c+d@e",)}),
    ("hf://datasets/o/n:train#exclude=*.wav", "hf://datasets/o/n:train#exclude=*.wav",
     {"parts": ("train",), "exclude": ("*.wav",)}),
    ("https://hub.example/datasets/o/n@v1", "hf://datasets/o/n@v1", {"revision": "v1"}),
    ("https://hub.example:443/datasets/o/n", "hf://datasets/o/n", {}),
    ("https://hub.example/datasets/o/n:train", "hf://datasets/o/n:train", {"parts": ("train",)}),
    ("https://hub.example/datasets/o/n:en/train", "hf://datasets/o/n:en/train", {"parts": ("en/train",)}),
    # What is no part: a ':' in the path of a file.
    ("hf://datasets/o/n/a:b.csv", "hf://datasets/o/n/a:b.csv", {"include": ("a:b.csv",)}),
    ("hf://datasets/o/n@v1/a:b.csv", "hf://datasets/o/n@v1/a:b.csv", {"revision": "v1", "include": ("a:b.csv",)}),
    ("https://hub.example/datasets/o/n/blob/main/a:b.csv", "hf://datasets/o/n/a:b.csv", {"include": ("a:b.csv",)}),
    ("hf://o/n", "hf://o/n", {"repo_type": "model"}),
    ("hf://models/o/n", "hf://o/n", {"repo_type": "model"}),
    ("hf://o/n@v2/*.json", "hf://o/n@v2/*.json", {"repo_type": "model", "revision": "v2", "include": ("*.json",)}),
    ("hf://o/n#exclude=*.bin", "hf://o/n#exclude=*.bin", {"repo_type": "model", "exclude": ("*.bin",)}),
    (
        "hf://datasets/o/n/a/#include=b%2F&exclude=*.tmp&exclude=*.bak",
        "hf://datasets/o/n/a/#include=b/&exclude=*.tmp&exclude=*.bak",
        {"include": ("a/", "b/"), "exclude": ("*.tmp", "*.bak")},
    ),
    # What a browser's address bar shows.
    ("https://hub.example/datasets/o/n", "hf://datasets/o/n", {}),
    ("http://hub.example/datasets/o/n/", "hf://datasets/o/n", {}),
    ("https://huggingface.co/datasets/o/n", "hf://datasets/o/n", {}),
    ("https://www.huggingface.co/datasets/o/n?library=datasets#dataset-card", "hf://datasets/o/n", {}),
    ("https://hf.co/o/n", "hf://o/n", {"repo_type": "model"}),
    ("https://hub.example/datasets/o/n/tree/main", "hf://datasets/o/n", {}),
    ("https://hub.example/datasets/o/n/tree/main/data", "hf://datasets/o/n/data/", {"include": ("data/",)}),
    ("https://hub.example/datasets/o/n/blob/v1/data/a.csv", "hf://datasets/o/n@v1/data/a.csv",
     {"revision": "v1", "include": ("data/a.csv",)}),
    ("https://hub.example/o/n/resolve/main/model.safetensors?download=true", "hf://o/n/model.safetensors",
     {"repo_type": "model", "include": ("model.safetensors",)}),
    ("https://hub.example/datasets/o/n/resolve/refs%2Fconvert%2Fparquet/default/a.parquet",
     "hf://datasets/o/n@refs/convert/parquet/default/a.parquet",
     {"revision": "refs/convert/parquet", "include": ("default/a.parquet",)}),
    ("https://hub.example/datasets/o/n/blob/main/a%20b.csv", "hf://datasets/o/n/a b.csv", {"include": ("a b.csv",)}),
    ("https://hub.example/datasets/o/n/blob/main/a%23b.csv", "hf://datasets/o/n#include=a%23b.csv", {"include": ("a#b.csv",)}),
    ("https://hub.example/datasets/o/n/viewer/default/train", "hf://datasets/o/n", {}),
    ("https://hub.example/datasets/o/n/commit/0123abcd", "hf://datasets/o/n@0123abcd", {"revision": "0123abcd"}),
]  # fmt: skip


@pytest.mark.parametrize(("written", "text", "differs"), REPOSITORIES, ids=[row[0] for row in REPOSITORIES])
def test_repositories(written: str, text: str, differs: dict[str, Any]) -> None:
    """Each form means one source, and is shown in one form, which means the same again."""
    reference = parse_reference(written, HUB)
    assert reference.source == HubSource(**{"repo": "o/n", **differs})
    assert reference.text == text
    assert parse_reference(text, HUB) == reference
    kind = differs.get("repo_type", "dataset")
    assert reference.key == ("hf://o/n" if kind == "model" else "hf://datasets/o/n")
    assert reference.names == ("o/n", f"{kind}s/o/n")


def test_the_address_of_a_hub_behind_a_path() -> None:
    """A Hub may be below a path, and other addresses of that host are files."""
    assert parse_reference("https://h.example/hf/datasets/o/n", "https://h.example/hf").text == "hf://datasets/o/n"
    other = parse_reference("https://h.example/datasets/o/n.csv", "https://h.example/hf")
    assert other.text == "https://h.example/datasets/o/n.csv"


FILES: list[tuple[str, str, dict[str, Any]]] = [
    # Written, where it is published, what the source says.
    ("https://h.example/d/LJSpeech-1.1.tar.bz2", "LJSpeech-1.1", {"unpack": "tar.bz2"}),
    ("https://h.example/x.tgz", "x", {"unpack": "tar.gz"}),
    ("https://h.example/x.tar.zst#unpack=none", "x", {"unpack": "none"}),
    ("https://h.example/x.ZIP", "x", {"unpack": "zip"}),
    ("https://h.example/x.data#unpack=zip", "x", {"unpack": "zip"}),
    ("https://h.example/table.parquet", "table", {}),
    ("https://h.example/my%20table.csv", "my_table", {}),
    ("https://h.example/a.csv#into=raw/tables", "a", {"into": "raw/tables"}),
    (f"https://h.example/a.csv#sha256={SHA256.upper()}", "a", {"digest": f"sha256:{SHA256}"}),
    (f"https://h.example/a.csv#md5={'0' * 32}", "a", {"digest": f"md5:{'0' * 32}"}),
    ("https://h.example/download?id=7#name=speech", "speech", {}),
    ("https://h.example/a.csv#name=acme/speech", "acme/speech", {}),
    ("file:///srv/a%20b/c.tar", "c", {"unpack": "tar"}),
    # A port, and a ':' in a path, are no parts.
    ("https://h.example:8080/x.tar.gz", "x", {"unpack": "tar.gz"}),
    ("https://h.example:8443/d:1/x:train.csv", "x_train", {}),
    ("https://[::1]:8080/x.csv", "x", {}),
]


@pytest.mark.parametrize(("written", "name", "says"), FILES, ids=[row[0] for row in FILES])
def test_files(written: str, name: str, says: dict[str, Any]) -> None:
    """A URL means one file: unpacked by the end of its name, published under its stem, or as its options say."""
    reference = parse_reference(written, HUB)
    (file,) = url(written).files
    assert reference.names == (name,)
    assert file.url == written.partition("#")[0]
    found = {"unpack": file.unpack, "into": file.into, "digest": str(file.digest) if file.digest else None}
    assert found == {"unpack": "none", "into": "", "digest": None, **says}
    assert reference.is_proven == ("digest" in says)


def test_sizes_that_a_source_states_are_no_part_of_the_recipe() -> None:
    """What is learnt of a file or a repository leaves its version as it was."""
    from provisioner.catalog.size import Size  # noqa: PLC0415 - only here

    for text in ("https://h.example/a.csv", "hf://datasets/o/n"):
        source = parse_reference(text, HUB).source
        assert source.sized(Size(7)).identity == source.identity
        assert source.sized(Size(7)).size == Size(7)


def test_no_secret_of_a_url_is_shown() -> None:
    """User, password and query are used for the request, and are in nothing that people see or that is recorded."""
    secret = "https://ann:s3cret@h.example/a.csv?X-Amz-Signature=0123abcd&X-Amz-Expires=60"
    reference = parse_reference(secret, HUB)
    assert url(secret).files[0].url == secret
    shown = f"{reference.text} {reference.key} {reference.homepage} {reference.names}"
    assert "s3cret" not in shown
    assert "0123abcd" not in shown
    assert reference.text == "https://h.example/a.csv"
    # Another signature of the same file is the same file; another query is another one.
    assert parse_reference(secret.replace("0123abcd", "ffff"), HUB).key == reference.key
    assert parse_reference("https://h.example/a.csv?id=1", HUB).key != parse_reference("https://h.example/a.csv?id=2", HUB).key


MALFORMED: list[tuple[str, str]] = [
    ("hf:/datasets/o/n", "not followed by //"),
    ("hf://", "names no repository"),
    ("hf://datasets", "names no repository"),
    ("hf://datasets/", "names no repository"),
    ("hf://datasets/o", "names no repository"),
    ("hf://gpt2", "names no repository"),
    ("hf://dataset/o/n", "owner of no repository"),
    ("hf://spaces/o/n", "a Space is a program"),
    ("hf://buckets/o", "it names no bucket"),
    ("hf://buckets/o/n@main", "a bucket has no revisions"),
    ("hf://buckets/o/-n-", "'o/-n-' is not the name of a bucket"),
    ("https://hub.example/buckets/o", "not that of a repository"),
    ("hf://datasets/o/n@", "no revision behind the '@'"),
    ("hf://datasets/o/n@a..b", "is not a revision"),
    ("hf://datasets/o/n@-x", "is not a revision"),
    ("hf://datasets/o--p/n", "is not the name of a repository"),
    ("hf://datasets/../n", "is not the name of a repository"),
    ("hf://datasets/o/n:", "no part behind the ':'"),
    ("hf://datasets/o/n:+", "'' is not the name of a part"),
    ("hf://datasets/o/n:train+", "'' is not the name of a part"),
    ("hf://datasets/o/n:a/b/c", "'a/b/c' is not the name of a part"),
    ("hf://datasets/o/n:a/", "'a/' is not the name of a part"),
    ("hf://datasets/o/n:train[:10%]", "is not the name of a part"),
    ("hf://datasets/o/n:train?limit=10", "is not the name of a part"),
    ("hf://datasets/o/n:*", "is not the name of a part"),
    ("hf://datasets/o/n:a%0Ab", "is not the name of a part"),
    ("hf://datasets/o/n:train@v1", "the revision comes before the part"),
    ("hf://datasets/o/n@:train", "no revision behind the '@'"),
    ("hf://datasets/o/n@v%3A1", "is not a revision"),
    ("hf://o/n:train", "a model repository has no parts"),
    ("hf://datasets/o:8080/n", "is not the name of a repository"),
    ("hf://:train", "names no repository"),
    ("hf://datasets/:train", "names no repository"),
    ("hf://datasets/o/:train", "names no repository"),
    ("hf://datasets/o/n/../../etc/passwd", "is not a glob"),
    ("hf://datasets/o/n//etc", "is not a glob"),
    ("hf://datasets/o/n/a\\b", "is not a glob"),
    ("hf://datasets/o/n/a[b", "a '[' is not closed"),
    ("hf://datasets/o/n#nmae=x", "there is no option 'nmae'"),
    ("hf://datasets/o/n#x", "is no option"),
    ("hf://datasets/o/n#name=../x", "cannot be the name"),
    ("hf://datasets/o/n#name=", "cannot be the name"),
    ("hf://datasets/o/n#name=a+b", "cannot be the name"),
    ("hf://datasets/o/n#name=a&name=b", "stands there twice"),
    ("hf://datasets/o/n x", "is not the name of a repository"),
    ("hf://datasets/o/n\x1b[31m", "cannot be printed"),
    # Slashes, and what is not decoded.
    ("hf:datasets/o/n", "hf: is not followed by //"),
    ("hf:///datasets/o/n", "names no repository"),
    ("hf://datasets//n", "names no repository"),
    ("hf://datasets/o//", "names no repository"),
    ("hf://datasets\\o\\n", "names no repository"),
    ("hf://datasets/o%2Fn", "names no repository"),
    ("hf://datasets/o/%2e%2e", "is not the name of a repository"),
    ("hf://datasets/o/..", "is not the name of a repository"),
    ("hf://datasets/./n", "is not the name of a repository"),
    ("hf://datasets/o/n.git", "is not the name of a repository"),
    ("hf://Datasets/o/n", "owner of no repository"),
    # Characters that are not what they look like, or like nothing.
    ("hf://datasets/\u043e/n", "is not the name of a repository"),
    ("hf://datasets/o/n\u200b", "the character U+200B"),
    ("hf://datasets/o/n\u202e", "the character U+202E"),
    ("hf://datasets/o/n\ud800", "the character U+D800"),
    ("https://h.example/a\tb.csv", "the character U+0009"),
    ("hf://datasets/o/\uff4e", "is not the name of a repository"),
    # '@'.
    ("hf://datasets/o/n@@v1", "'@v1' is not a revision"),
    ("hf://datasets/o/n@v1@v2", "'v1@v2' is not a revision"),
    ("hf://datasets/o/n@/x", "no revision behind the '@'"),
    ("hf://datasets/o@v1/n", "names no repository"),
    ("hf://ann:pw@o/n", "names no repository"),
    # A host where none stands, and options that stand elsewhere.
    ("hf://huggingface.co/datasets/o/n", "not followed by a host"),
    ("hf://datasets/hf.co/o/n", "not followed by a host"),
    ("hf://datasets/o/n?revision=v1", "has no '?' part"),
    ("hf://datasets/o/n##", "is no option"),
    ("hf://datasets/o/n#=x", "there is no option ''"),
    ("hf://datasets/o/n#exclude=", "is not a glob"),
    (f"hf://datasets/o/n#sha256={SHA256}", "the option 'sha256' is for files"),
    ("https://h.example/x.csv#exclude=a", "the option 'exclude' is for repositories"),
    (f"https://h.example/x.csv#sha256:{SHA256}", "is no option"),
    (f"https://h.example/x.csv#{SHA256}", "is no option"),
    (f"https://h.example/x.csv#sha256={SHA256}&sha256={SHA256}", "stands there twice"),
    # Very long ones.
    ("hf://datasets/o/" + "n" * 200, "is not the name of a repository"),
    ("hf://datasets/o/n/" + "x/" * 5000, "it has 10018 characters"),
    ("https://h.example/" + "x" * 300 + ".csv", "more than 255 bytes"),
    ("https://hub.example/", "not that of a repository"),
    ("https://hub.example/docs/hub", "not that of a repository"),
    ("https://hub.example/spaces/o/n", "a Space is a program"),
    ("https://hub.example/datasets/o", "not that of a repository"),
    ("https://hub.example/datasets/o/n/nonsense", "not that of a repository"),
    ("https://hub.example/datasets/o/n/blob/main/%2e%2e/x", "is not a glob"),
    ("https://h.example", "names a directory"),
    ("https://h.example/", "names a directory"),
    ("https://h.example/dir/", "names a directory"),
    ("https://h.example/download?id=7", "does not name a file"),
    ("https:///x.csv", "names no host"),
    ("https://h.example/my table.csv", "has a space"),
    ("https://h.example:port/x.csv", "is not a URL"),
    ("https://h.example:0/x.csv", "is not a URL"),
    ("https://h.example:99999/x.csv", "is not a URL"),
    ("https://[::1/x.csv", "is not a URL"),
    ("https://[::1]x/x.csv", "is not a URL"),
    ("https://::1/x.csv", "is not a URL"),
    ("https://:8080/x.csv", "names no host"),
    ("https://a@b@h.example/x.csv", "is not the URL of a file"),
    ("https:h.example/x.csv", "https: is not followed by //"),
    ("https:\\\\h.example\\x.csv", "https: is not followed by //"),
    ("https://h.example/%zz.csv", "a '%' of the URL is not followed by two digits"),
    ("https://h.example/100%.csv", "a '%' of the URL is not followed by two digits"),
    ("https://h.example/%FF.csv", "unsafe character"),
    ("https://h.example/\u00fc.csv", "not ASCII"),
    ("file:/x.csv", "file: is not followed by //"),
    ("file:///dir/", "names a directory"),
    ("file:///x.csv?y", "neither a host nor a '?' part"),
    ("git+https://h.example/x.git", "the scheme 'git+https'"),
    ("hf-dataset://o/n", "the scheme 'hf-dataset'"),
    ("https://h.example/x.csv#sha256=abc", "a sha256 has 64 digits, found 3"),
    (f"https://h.example/x.csv#sha256={SHA256}&md5={'0' * 32}", "two digests"),
    ("https://h.example/x.csv#sha512=abc", "there is no option 'sha512'"),
    ("https://h.example/x.csv#unpack=rar", "is not one of"),
    ("https://h.example/x.csv#into=../up", "is not a relative path"),
    ("https://h.example/a/%2e%2e/x.csv", "'.' or '..' part"),
    ("https://h.example/x%00.csv", "unsafe character"),
    ("file://host/x.csv", "neither a host"),
    ("ftp://h.example/x.csv", "the scheme 'ftp'"),
    ("s3://bucket/x.csv", "the scheme 's3'"),
]


@pytest.mark.parametrize(("written", "problem"), MALFORMED, ids=[repr(row[0]) for row in MALFORMED])
def test_malformed(written: str, problem: str) -> None:
    """Each mistake is refused as what it is, with a hint, in printable words."""
    assert is_reference(written)
    with pytest.raises(ConfigurationError) as caught:
        parse_reference(written, HUB)
    assert problem in caught.value.message
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 400
    assert caught.value.hint.isprintable()
    assert caught.value.hint
    assert len(caught.value.hint) < 200


HINTS: list[tuple[str, str]] = [
    ("hf:datasets/o/n", "Write hf://datasets/OWNER/NAME."),
    ("file:/x.csv", "Write file:///PATH/FILE."),
    ("hf://datasets/\u043e/n", "'\u043e' (U+043E) is in no name on the Hub. "),
    ("hf://datasets/o/n.git", "Write owner/name, such as o/n,"),
    ("s3://bucket/x.csv", "Use the https: address of the object"),
    ("hf-dataset://o/n", "Write hf://datasets/OWNER/NAME."),
    ("htps://h.example/x.csv", "Did you mean 'https'?"),
    (f"https://h.example/x.csv#{SHA256}", "Write sha256=DIGITS."),
    (f"https://h.example/x.csv#md5:{'0' * 32}", "Write md5=DIGITS."),
    ("hf://datasets/o/n:train@v1", "Write hf://datasets/o/n@REVISION:PART."),
]


@pytest.mark.parametrize(("written", "hint"), HINTS, ids=[row[0] for row in HINTS])
def test_hints(written: str, hint: str) -> None:
    """The hint says how it is written, as far as that is known."""
    with pytest.raises(ConfigurationError) as caught:
        parse_reference(written, HUB)
    assert caught.value.hint.startswith(hint)


def test_a_message_repeats_no_secret() -> None:
    """The message about a malformed URL masks what may be a password or a signature."""
    with pytest.raises(ConfigurationError) as caught:
        parse_reference("https://ann:s3cret@h.example/x.csv?sig=0123abcd#unpack=rar", HUB)
    assert "s3cret" not in caught.value.message + caught.value.hint
    assert "0123abcd" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize("text", ["ljspeech", "nsynth:test", "acme/sounds", "a.b:c", "hf:train", "file:test", "a/b:c", "x:y/z"])
def test_ids_are_no_references(text: str) -> None:
    """An id, with or without a split, is never taken for a reference."""
    assert not is_reference(text)


@pytest.mark.parametrize(
    "text", ["https://h.example/123?k=hidden#bogus=1", "http://h.example/?k=hidden", "HTTPS://h.example/a?k=hidden#x"]
)
def test_a_message_shows_no_query(text: str) -> None:
    """What follows the question mark of a URL may be a secret, whatever its parameters are called."""
    with pytest.raises(ConfigurationError) as caught:
        parse_reference(text)
    assert "h.example" in caught.value.message
    assert "hidden" not in caught.value.message + caught.value.hint
