"""Settings: which text wins, what value it becomes, and the message about an invalid one. No environment or disk is read."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as patience
from hypothesis import strategies as st

from provisioner.errors import ConfigurationError
from provisioner.settings.help import help_text
from provisioner.settings.reader import read_settings
from provisioner.settings.secret import Secret
from provisioner.settings.setting import PREFIX
from provisioner.settings.settings import SETTINGS, Settings

HOME = Path("/home/somebody")
APP = Path("/srv/app")
CONFIG = APP / "config" / "config.yaml"
HIDDEN = "not-a-real-token-0123456789"


def read(
    overrides: dict[str, str] | None = None,
    environ: dict[str, str] | None = None,
    files: dict[Path, str | Exception] | None = None,
    *,
    in_image: bool = False,
) -> Settings:
    """Return the settings where only these overrides, variables and files exist."""

    def read_text(path: Path) -> str:
        found = (files or {}).get(path)
        if found is None:
            raise FileNotFoundError(2, "No such file or directory", str(path))
        if isinstance(found, Exception):
            raise found
        return found

    return read_settings(overrides or {}, environ or {}, read_text=read_text, home=HOME, app_root=APP, in_image=in_image)


def refused(
    overrides: dict[str, str] | None = None,
    environ: dict[str, str] | None = None,
    files: dict[Path, str | Exception] | None = None,
) -> ConfigurationError:
    """Return the error that the reading raises."""
    with pytest.raises(ConfigurationError) as caught:
        read(overrides, environ, files)
    return caught.value


def attempt(
    overrides: dict[str, str], environ: dict[str, str], files: dict[Path, str | Exception] | None = None
) -> Settings | ConfigurationError:
    """Return the settings, or the error that the reading raises."""
    try:
        return read(overrides, environ, files)
    except ConfigurationError as error:
        return error


def test_defaults() -> None:
    """Without any input, every setting has the default that the contract states."""
    settings = read()
    assert settings.phase is None
    assert settings.datasets == ()
    assert settings.data_dir == Path("data")
    assert settings.config_path == CONFIG
    assert settings.catalog_paths == (APP / "config" / "catalog.yaml",)
    assert settings.auto_download == "true"
    assert settings.may_download
    assert settings.max_storage_bytes is None
    assert settings.on_shortfall == "skip"
    assert settings.on_failure == "fail"
    assert settings.license_policy == "curated"
    assert settings.accept_licenses == ()
    assert settings.hf_token is None
    assert settings.hf_endpoint == "https://huggingface.co"
    assert settings.hf_home is None
    assert settings.hf_hub_cache == HOME / ".cache" / "huggingface" / "hub"
    assert not settings.hf_hub_offline
    assert settings.http_proxy is settings.https_proxy is settings.no_proxy is None
    assert settings.ssl_cert_file is None
    assert settings.url_rewrite == ()
    assert settings.dataset_repo == "trackio-experiments"
    assert not settings.dataset_repo_asked
    assert settings.dataset_repo_org is None
    assert not settings.dataset_repo_private
    assert settings.connections is None
    assert settings.max_rate_bytes is None
    assert settings.volume_kind == "auto"
    assert settings.staging_dir is None
    assert settings.publish == "link"
    assert settings.lock == "flock"
    assert settings.lock_timeout_seconds == 6 * 3600
    assert settings.deadline_seconds is None
    assert settings.log_format == "text"
    assert settings.termination_log is None
    assert settings.priorities == {}
    assert settings.layouts == {}
    assert settings.use_hf_cache
    assert settings.space_id is settings.hf_username is settings.space_author_name is None
    assert settings.warnings == settings.secrets == ()
    assert set(settings.origins.values()) == {"default"}


PORTS: list[tuple[dict[str, str], int | None]] = [
    ({}, None),
    ({"PORT": "8080"}, None),
    ({"SPACE_ID": "a/b"}, 7860),
    ({"SPACE_ID": "a/b", "PORT": "8080"}, 8080),
    ({"SPACE_ID": "a/b", "PORT": "tcp://10.0.0.1:80"}, 7860),
    ({"SPACE_ID": "a/b", "PORT": "0"}, 7860),
    ({"SPACE_ID": "a/b", "PORT": "8080", "PROGRESS_PORT": "9000"}, 9000),
    ({"SPACE_ID": "a/b", "PROGRESS_PORT": "off"}, None),
]


@pytest.mark.parametrize(("environ", "port"), PORTS)
def test_the_page_is_off_but_in_a_space(environ: dict[str, str], port: int | None) -> None:
    """There is a page where a port is set, and in a Space, on the port on which that must answer."""
    assert read(environ=environ).progress_port == port
    assert read(environ=environ).progress_bind == ("*" if "SPACE_ID" in environ else "127.0.0.1")
    assert read(environ=environ, in_image=True).progress_bind == "*"


def test_image_has_its_volume_at_data() -> None:
    """In the image the root of the volume is ``/data`` unless it is set."""
    assert read(in_image=True).data_dir == Path("/data")
    assert read(environ={"DATA_DIR": "/other"}, in_image=True).data_dir == Path("/other")


def test_order() -> None:
    """Command line, prefixed variable, variable, older name, config file, default: each wins over those after it."""
    layers: list[tuple[dict[str, str], dict[str, str], dict[Path, str | Exception]]] = [
        ({}, {}, {}),
        ({}, {}, {CONFIG: "datasets: {phase: config}"}),
        ({}, {"LEMM_DATASET_PHASE": "older"}, {}),
        ({}, {"PHASE": "plain"}, {}),
        ({}, {"PROVISIONER_PHASE": "prefixed"}, {}),
        ({"PHASE": "line"}, {}, {}),
    ]
    expected = [
        (None, "default"),
        ("config", f"{CONFIG}:1"),
        ("older", "LEMM_DATASET_PHASE"),
        ("plain", "PHASE"),
        ("prefixed", "PROVISIONER_PHASE"),
        ("line", "command line"),
    ]
    overrides: dict[str, str] = {}
    environ: dict[str, str] = {}
    files: dict[Path, str | Exception] = {}
    for (line, variables, file), (phase, origin) in zip(layers, expected, strict=True):
        overrides |= line
        environ |= variables
        files |= file
        settings = read(overrides, environ, files)
        assert (settings.phase, settings.origins["PHASE"]) == (phase, origin)


def test_empty_counts_as_not_set() -> None:
    """An empty variable or override of any name counts as not set, and is no error."""
    everything = {name: " " for setting in SETTINGS for name in setting.names}
    assert read(environ=everything) == read()
    assert read(overrides={setting.name: "" for setting in SETTINGS}) == read()
    assert read(environ={"PROVISIONER_PHASE": "", "PHASE": "x"}).phase == "x"


EXAMPLES: list[tuple[str, str, str, object]] = [
    ("PHASE", "balanced", "phase", "balanced"),
    ("PHASE", "auto", "phase", "auto"),
    ("DATASETS", "ljspeech", "datasets", (("ljspeech", None),)),
    (
        "DATASETS",
        "nsynth:train?limit=5&where=x in ('a','b, c') , ljspeech?limit=1,urmp",
        "datasets",
        (("nsynth", "train?limit=5&where=x in ('a','b, c')"), ("ljspeech", "?limit=1"), ("urmp", None)),
    ),
    ("DATASETS", "a?where=x%20in%20('a'%2C'b'),b", "datasets", (("a", "?where=x%20in%20('a'%2C'b')"), ("b", None))),
    (
        "DATASETS",
        "hf://datasets/o/n#where=x in ('a','b'),hf://o/m",
        "datasets",
        (("hf://datasets/o/n#where=x in ('a','b')", None), ("hf://o/m", None)),
    ),
    ("DATASETS", " ljspeech , nsynth:test,ljspeech,", "datasets", (("ljspeech", None), ("nsynth", "test"))),
    ("DATA_DIR", "~/data", "data_dir", HOME / "data"),
    ("CATALOG_PATH", "c.yaml", "catalog_paths", (Path("c.yaml"),)),
    ("CATALOG_PATH", ":~/c.yaml:/d", "catalog_paths", (APP / "config" / "catalog.yaml", HOME / "c.yaml", Path("/d"))),
    ("AUTO_DOWNLOAD", "false", "auto_download", "false"),
    ("AUTO_DOWNLOAD", "0", "auto_download", "false"),
    ("AUTO_DOWNLOAD", "Space", "auto_download", "space"),
    ("BUDGET_GB", "20", "budget_bytes", 20_000_000_000),
    ("MAX_STORAGE_GB", "25", "max_storage_bytes", 25 * 10**9),
    ("MAX_STORAGE_GB", "0.5", "max_storage_bytes", 500_000_000),
    ("MAX_STORAGE_GB", "2.748572632", "max_storage_bytes", 2_748_572_632),
    ("ON_SHORTFALL", "fail", "on_shortfall", "fail"),
    ("ON_FAILURE", "degraded", "on_failure", "degraded"),
    ("LICENSE_POLICY", "Commercial", "license_policy", "commercial"),
    ("ACCEPT_LICENSES", "urmp, musicnet", "accept_licenses", ("urmp", "musicnet")),
    ("PRIORITIES", "ljspeech=5,urmp=1", "priorities", {"ljspeech": 5, "urmp": 1}),
    ("LAYOUTS", "libritts=parquet", "layouts", {"libritts": "parquet"}),
    ("HF_TOKEN", HIDDEN, "hf_token", Secret(HIDDEN)),
    ("UI_TOKEN", "12345678", "ui_token", Secret("12345678")),
    ("HF_ENDPOINT", "http://hub.local:8080/", "hf_endpoint", "http://hub.local:8080"),
    ("HF_HOME", "~/hub", "hf_home", HOME / "hub"),
    ("HF_HUB_CACHE", "/cache", "hf_hub_cache", Path("/cache")),
    ("USE_HF_CACHE", "no", "use_hf_cache", False),
    ("HUB_CACHE", "OFF", "hub_cache", "off"),
    ("INDEX", "OFF", "index", "off"),
    ("HF_HUB_OFFLINE", "1", "hf_hub_offline", True),
    ("HTTP_PROXY", "proxy.local:3128", "http_proxy", "http://proxy.local:3128"),
    ("HTTPS_PROXY", "http://u:p@proxy.local", "https_proxy", "http://u:p@proxy.local"),
    ("NO_PROXY", "localhost,.local", "no_proxy", "localhost,.local"),
    ("SSL_CERT_FILE", "/ca.pem", "ssl_cert_file", Path("/ca.pem")),
    (
        "URL_REWRITE",
        "https://a.example=http://m.local/a;https://a.example/b?c=d=file:///mirror/b;",
        "url_rewrite",
        (("https://a.example/b?c=d", "file:///mirror/b"), ("https://a.example", "http://m.local/a")),
    ),
    ("SEARCH_DIRS", "/downloads:~/Downloads:/downloads", "search_dirs", (Path("/downloads"), HOME / "Downloads")),
    (
        "PEERS",
        "/mnt/usb; http://u:p@10.0.0.7:7860/ ;file:///mnt/a%20b;/mnt/usb",
        "peers",
        ("/mnt/usb", "http://10.0.0.7:7860", "/mnt/a b"),
    ),
    ("DATASET_REPO", "mine", "dataset_repo", "mine"),
    ("DATASET_REPO", "owner/mine", "dataset_repo", "owner/mine"),
    ("DATASET_REPO", "None", "dataset_repo", None),
    ("DATASET_REPO_ORG", "some-org", "dataset_repo_org", "some-org"),
    ("DATASET_REPO_PRIVATE", "true", "dataset_repo_private", True),
    ("DATASET_REPO_KIND", "bucket", "dataset_repo_kind", "bucket"),
    ("HF_USERNAME", "somebody", "hf_username", "somebody"),
    ("CONNECTIONS", "1", "connections", 1),
    ("CONNECTIONS", "auto", "connections", None),
    ("CONNECTIONS", "Auto", "connections", None),
    ("MAX_RATE_MB", "1.5", "max_rate_bytes", 1_500_000),
    ("VOLUME_KIND", "object", "volume_kind", "object"),
    ("STAGING_DIR", "/fast", "staging_dir", Path("/fast")),
    ("PUBLISH", "dir", "publish", "dir"),
    ("UPDATE", "Auto", "update", "auto"),
    ("PINS", "/config/pins.yaml", "pins", Path("/config/pins.yaml")),
    ("GC_GRACE", "7d", "gc_grace_seconds", 604_800.0),
    ("GC_GRACE", "0", "gc_grace_seconds", 0.0),
    ("LOCK", "external", "lock", "external"),
    ("LOCK_TIMEOUT", "0", "lock_timeout_seconds", 0.0),
    ("SHARD", "0/1", "shard", (0, 1)),
    ("SHARD", "3/4", "shard", (3, 4)),
    ("DEADLINE", "90", "deadline_seconds", 90.0),
    ("DEADLINE", "90s", "deadline_seconds", 90.0),
    ("DEADLINE", "30m", "deadline_seconds", 1800.0),
    ("DEADLINE", "6H", "deadline_seconds", 21600.0),
    ("DEADLINE", "1.5h", "deadline_seconds", 5400.0),
    ("LOG_FORMAT", "json", "log_format", "json"),
    ("APP_WORKDIR", "datasets", "app_workdir", "datasets"),
    ("TERMINATION_LOG", "/t", "termination_log", Path("/t")),
    ("SPACE_ID", "somebody/space", "space_id", "somebody/space"),
    ("SPACE_AUTHOR_NAME", "somebody", "space_author_name", "somebody"),
    ("SPACE_HOST", "somebody-space.hf.space", "space_host", "somebody-space.hf.space"),
    ("PROGRESS_PORT", "8080", "progress_port", 8080),
    ("PROGRESS_PORT", "off", "progress_port", None),
    ("PROGRESS_BIND", "*", "progress_bind", "*"),
    ("PROGRESS_BIND", "::1", "progress_bind", "::1"),
    ("PROGRESS_HOSTS", "data.example.org, b.example", "progress_hosts", ("data.example.org", "b.example")),
    ("METRICS_FILE", "/var/lib/node_exporter/provisioner.prom", "metrics_file", Path("/var/lib/node_exporter/provisioner.prom")),
]


@pytest.mark.parametrize(("name", "text", "attribute", "expected"), EXAMPLES)
def test_values(name: str, text: str, attribute: str, expected: object) -> None:
    """A text becomes the same value from a variable, a variable with the prefix, and the command line."""
    assert getattr(read(environ={name: text}), attribute) == expected
    assert getattr(read(environ={PREFIX + name: text, name: "!"}), attribute) == expected
    assert getattr(read(overrides={name: text}, environ={name: "!"}), attribute) == expected


def test_every_setting_has_an_example() -> None:
    """Every setting has an example in the table, except those with tests of their own."""
    alone = {"CONFIG_PATH", "HF_TOKEN_PATH", "HF_HUB_DISABLE_IMPLICIT_TOKEN"}
    assert {name for name, *_ in EXAMPLES} | alone == {setting.name for setting in SETTINGS}


def test_every_setting_is_declared_once() -> None:
    """Every setting is declared once, no two share a variable, and every default can be parsed."""
    names = [name for setting in SETTINGS for name in setting.names if name.lower() != "all_proxy"]
    assert len(names) == len(set(names))
    for setting in SETTINGS:
        if setting.default:
            setting.parse(setting.default)
        assert setting.description
        assert setting.name in help_text()


BAD: list[tuple[str, str, str, str]] = [
    ("LOCK_TIMEOUT", "6x", "'6x' is not a duration", "30m"),
    ("LOCK_TIMEOUT", "-1", "'-1' is not a duration", "30m"),
    ("LOCK_TIMEOUT", "9999h", "'9999h' is more than a year", "30m"),
    ("DEADLINE", "0", "'0' leaves no time at all", "no limit"),
    ("DEADLINE", "nan", "'nan' is not a duration", "30m"),
    ("LICENSE_POLICY", "comercial", "'comercial' is not one of commercial, curated, any", "Did you mean 'commercial'?"),
    ("UI_TOKEN", "1234567", "fewer than 8 characters can be guessed", "openssl rand"),
    ("UI_TOKEN", "1234 5678", "character 5 is not allowed in a token", "one line"),
    ("LOG_FORMAT", "xml", "'xml' is not one of text, json", "Accepted: text or json."),
    ("AUTO_DOWNLOAD", "maybe", "'maybe' is not one of true, false, space", "Accepted: true, false or space."),
    ("HF_HUB_OFFLINE", "maybe", "'maybe' is neither true nor false", "true or false"),
    ("MAX_STORAGE_GB", "25GB", "'25GB' is not a number of GB", "such as 25"),
    ("MAX_STORAGE_GB", "0", "'0' is not a number of GB", "no limit"),
    ("MAX_STORAGE_GB", "1e999999", "'1e999999' is not a number of GB", "such as 25"),
    ("MAX_STORAGE_GB", "9" * 30, f"'{'9' * 30}' is not a number of GB", "such as 25"),
    ("MAX_RATE_MB", "٣", "'٣' is not a number of MB", "such as 25"),
    ("CONNECTIONS", "0", "'0' is not a whole number from 1 to 128", "1"),
    ("CONNECTIONS", "2.5", "'2.5' is not a whole number from 1 to 128", "1"),
    ("DATASETS", "nsynth:", "'nsynth:' is not a data set", "ID:PART"),
    ("DATASETS", ",", "',' names nothing", "commas"),
    ("DATASETS", "nsynth?", "there is no rule behind the '?'", "?limit=1000"),
    ("DATASETS", "nsynth:train?limt=5", "'limt' is no rule", "'limit'"),
    ("DATASETS", "a,nsynth?limit=x", "limit: expected a whole number", ""),
    ("DATASETS", "nsynth?where=pitch=5", "'=' at character 6", "=="),
    ("DATASETS", "nsynth?where=x in ('a',b", "'b' at character 11", "'b'"),
    ("DATASETS", "nsynth?where=x=='a,b", '"\'" at character 4', "Close"),
    ("PRIORITIES", "ljspeech=6", "'6' is not a priority of ljspeech", "1 to 5"),
    ("PRIORITIES", "ljspeech", "'ljspeech' is not ID=VALUE", "urmp=1"),
    ("LAYOUTS", "a=raw,a=parquet", "'a' is given twice", "one of them"),
    ("HF_ENDPOINT", "huggingface", "'huggingface' is not a URL", "http://"),
    ("HF_ENDPOINT", "http://[", "'http://[' is not a URL", "http://"),
    ("HF_ENDPOINT", "http://a:99999", "'http://a:99999' is not a URL", "http://"),
    ("HF_ENDPOINT", "http://a/?b=c", "is not the address of a Hub", "without a query"),
    ("HTTPS_PROXY", "socks5://a:1", "'socks5://a:1' is not a URL that can be used here", "http://"),
    ("URL_REWRITE", "https://a.example", "is not a rule to rewrite URLs", "PREFIX=REPLACEMENT"),
    ("URL_REWRITE", "ftp://a=http://b", "'ftp://a' is not a URL", "http://"),
    ("URL_REWRITE", "http://a=http://b;http://a=http://c", "'http://a' is given twice", "one replacement"),
    ("PEERS", "http://a/?b=c", "is not the address of a volume", "without a query"),
    ("PEERS", "rsync://a/b", "'rsync://a/b' is no peer", "a directory"),
    ("PEERS", "http:///x", "is not a URL that can be used here", "http://"),
    ("DATASET_REPO", "a/b/c", "'a/b/c' is not the name of a repository", "OWNER/NAME"),
    ("DATASET_REPO", "../x", "'../x' is not the name of a repository", "OWNER/NAME"),
    ("DATASET_REPO", "x.git", "'x.git' is not the name of a repository", "OWNER/NAME"),
    ("DATASET_REPO_ORG", "a b", "'a b' is not a name of the Hub", "page's URL"),
    ("DATA_DIR", "a\nb", "is not a path", "control characters"),
    ("DATA_DIR", "/long" * 512 + "x", "is too long for the files that come into it", "at most 2,560 bytes"),
    ("STAGING_DIR", "/lönge" * 400, "is too long for the files that come into it", "at most 2,560 bytes"),
    ("PINS", "/long" * 820, "is longer than a path can be", "255 bytes"),
    ("PHASE", "a\nb", "holds a character that cannot be printed", "plain text"),
]


@pytest.mark.parametrize(("name", "text", "problem", "hint"), BAD)
def test_bad_values(name: str, text: str, problem: str, hint: str) -> None:
    """An invalid text is refused with a message that names the variable, the problem and what is accepted."""
    error = refused(environ={name: text})
    assert error.exit_code == 78
    assert error.message.startswith(f"{name}: ")
    assert problem in error.message
    assert hint in error.hint
    assert refused(environ={PREFIX + name: text}).message.startswith(f"{PREFIX}{name}: ")


def test_unknown_override_is_refused() -> None:
    """An override with an unknown name is refused."""
    assert "PAHSE" in refused(overrides={"PAHSE": "x"}).message


def test_longest_prefix_is_first() -> None:
    """A longer prefix of a URL comes before a shorter one."""
    rules = read(environ={"URL_REWRITE": "http://a/=http://m/;http://a/b/c=http://m/2;http://a/b=http://m/1"}).url_rewrite
    assert [prefix for prefix, _ in rules] == ["http://a/b/c", "http://a/b", "http://a/"]


def test_space() -> None:
    """In a Space a failure does not stop the app, and ``AUTO_DOWNLOAD=space`` allows downloads only there."""
    assert read(environ={"SPACE_ID": "a/b"}).on_failure == "degraded"
    assert read(environ={"SPACE_ID": "a/b", "ON_FAILURE": "fail"}).on_failure == "fail"
    assert read(environ={"SPACE_ID": "a/b", "AUTO_DOWNLOAD": "space"}).may_download
    assert not read(environ={"AUTO_DOWNLOAD": "space"}).may_download
    assert not read(environ={"AUTO_DOWNLOAD": "false", "SPACE_ID": "a/b"}).may_download


def test_repository_is_asked_for_only_by_the_user() -> None:
    """A repository counts as asked for when the user names it, even by its default name, and not otherwise."""
    assert not read(environ={"HF_TOKEN": HIDDEN}).dataset_repo_asked
    assert read(environ={"DATASET_REPO": "trackio-experiments"}).dataset_repo_asked
    assert not read(environ={"DATASET_REPO": "none"}).dataset_repo_asked


@pytest.mark.parametrize(
    ("overrides", "environ", "config", "expected"),
    [
        ({}, {"PHASE": "p", "DATASETS": "d"}, "", (("d", None),)),
        ({"PHASE": "p"}, {"DATASETS": "d"}, "", ()),
        ({"PHASE": "p", "DATASETS": "d"}, {}, "", (("d", None),)),
        ({"DATASETS": "d"}, {"PHASE": "p"}, "", (("d", None),)),
        ({}, {"PHASE": "p"}, "datasets: {select: [d]}", ()),
        ({}, {}, "datasets: {select: [d], phase: p}", (("d", None),)),
    ],
)
def test_phase_wins_over_data_sets_of_lower_precedence(
    overrides: dict[str, str], environ: dict[str, str], config: str, expected: object
) -> None:
    """Data sets win over a phase from the same input; a phase from an input of higher precedence wins over data sets."""
    assert read(overrides, environ, {CONFIG: config}).datasets == expected


# --- the network ----------------------------------------------------------------------------------------------------


def test_lower_case_proxies_win() -> None:
    """The lower-case name of a proxy wins, as in other programs, and ``all_proxy`` is used when neither is set."""
    assert read(environ={"http_proxy": "http://a", "HTTP_PROXY": "http://b"}).http_proxy == "http://a"
    settings = read(environ={"all_proxy": "http://c", "HTTPS_PROXY": "http://b"})
    assert (settings.http_proxy, settings.https_proxy) == ("http://c", "http://b")


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_other_names_for_certificates(name: str) -> None:
    """The variables of other programs for a private CA are read when ``SSL_CERT_FILE`` is not set."""
    assert read(environ={name: "/ca.pem"}).ssl_cert_file == Path("/ca.pem")
    assert read(environ={name: "/ca.pem", "SSL_CERT_FILE": "/own.pem"}).ssl_cert_file == Path("/own.pem")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"XDG_CACHE_HOME": "/xdg"}, Path("/xdg/huggingface/hub")),
        ({"HF_HOME": "/h", "XDG_CACHE_HOME": "/xdg"}, Path("/h/hub")),
        ({"HF_HOME": "${BASE}/$NAME/$NONE", "BASE": "/b", "NAME": "n"}, Path("/b/n/$NONE/hub")),
        ({"HUGGINGFACE_HUB_CACHE": "/older", "HF_HOME": "/h"}, Path("/older")),
        ({"HF_HUB_CACHE": "/c", "HUGGINGFACE_HUB_CACHE": "/older"}, Path("/c")),
    ],
)
def test_hub_cache(environ: dict[str, str], expected: Path) -> None:
    """The path of the Hub client's cache follows the rules of the Hub client."""
    assert read(environ=environ).hf_hub_cache == expected


# --- secrets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["HF_TOKEN", "PROVISIONER_HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
def test_token_from_a_file(name: str) -> None:
    """``HF_TOKEN_FILE`` names a file that contains the token, with or without a line end."""
    settings = read(environ={f"{name}_FILE": "/run/secrets/t"}, files={Path("/run/secrets/t"): f"{HIDDEN}\n"})
    assert settings.hf_token == Secret(HIDDEN)
    assert settings.origins["HF_TOKEN"] == f"{name}_FILE"


def test_token_file_is_read_once() -> None:
    """A file that contains the token is read only once, so that it may be a pipe."""
    paths = []

    def read_text(path: Path) -> str:
        paths.append(path)
        return "" if path == CONFIG else HIDDEN

    settings = read_settings({}, {"HF_TOKEN_FILE": "/dev/fd/63"}, read_text=read_text, home=HOME, app_root=APP)
    assert settings.hf_token == Secret(HIDDEN)
    assert paths == [CONFIG, Path("/dev/fd/63")]


def test_token_and_its_file_exclude_each_other() -> None:
    """A token and its file of the same name are an error when both are set and not empty; the prefixed name wins."""
    files: dict[Path, str | Exception] = {Path("/t"): "from-file"}
    assert refused(environ={"HF_TOKEN": HIDDEN, "HF_TOKEN_FILE": "/t"}).message == "HF_TOKEN and HF_TOKEN_FILE are both set"
    assert read(environ={"HF_TOKEN": "", "HF_TOKEN_FILE": "/t"}, files=files).hf_token == Secret("from-file")
    assert read(environ={"HF_TOKEN": HIDDEN, "PROVISIONER_HF_TOKEN_FILE": "/t"}, files=files).hf_token == Secret("from-file")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (FileNotFoundError(2, "No such file or directory"), "'/t' cannot be read: No such file or directory"),
        (PermissionError(13, "Permission denied"), "'/t' cannot be read: Permission denied"),
        (UnicodeDecodeError("utf-8", HIDDEN.encode(), 0, 1, "invalid"), "'/t' is not a text file"),
        (f"{HIDDEN}\n{HIDDEN}", "is not allowed in a token"),
        (f'"{HIDDEN}\u00e9"', "is not allowed in a token"),
    ],
)
def test_wrong_token_file(content: str | Exception, problem: str) -> None:
    """A token file that cannot be used is an error that names variable and path, and shows nothing of the content."""
    error = refused(environ={"HF_TOKEN_FILE": "/t"}, files={Path("/t"): content})
    assert error.message.startswith("HF_TOKEN_FILE: ")
    assert problem in error.message
    assert HIDDEN not in f"{error.message} {error.hint} {error!r}"
    assert error.__cause__ is None
    assert error.__suppress_context__


def test_empty_token_file_means_no_token() -> None:
    """An empty token file means no token; the login of the machine is not used either."""
    login: dict[Path, str | Exception] = {HOME / ".cache" / "huggingface" / "token": HIDDEN}
    assert read(environ={"HF_TOKEN_FILE": "/t"}, files={**login, Path("/t"): "\n"}).hf_token is None


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({}, HOME / ".cache" / "huggingface" / "token"),
        ({"XDG_CACHE_HOME": "/xdg"}, Path("/xdg/huggingface/token")),
        ({"HF_HOME": "/h"}, Path("/h/token")),
        ({"HF_HOME": "/h", "HF_TOKEN_PATH": "~/t"}, HOME / "t"),
        ({"HF_HUB_DISABLE_IMPLICIT_TOKEN": "0"}, HOME / ".cache" / "huggingface" / "token"),
    ],
)
def test_login_of_the_hub_client(environ: dict[str, str], path: Path) -> None:
    """Without a token the Hub client's login is used, unless that is switched off."""
    settings = read(environ=environ, files={path: f" {HIDDEN}\n"})
    assert settings.hf_token == Secret(HIDDEN)
    assert settings.origins["HF_TOKEN"] == str(path)
    assert read(environ={**environ, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}, files={path: HIDDEN}).hf_token is None
    assert read(environ={**environ, "HF_TOKEN": "own"}, files={path: HIDDEN}).hf_token == Secret("own")


@pytest.mark.parametrize(
    "content", [PermissionError(13, "Permission denied"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"), ""]
)
def test_login_that_cannot_be_read(content: str | Exception) -> None:
    """A login that cannot be read is no error, because nobody asked for it."""
    assert read(files={HOME / ".cache" / "huggingface" / "token": content}).hf_token is None


def test_broken_login_is_a_warning() -> None:
    """A login that is no valid token is not used, and a warning says so without showing it."""
    settings = read(files={HOME / ".cache" / "huggingface" / "token": f"{HIDDEN} {HIDDEN}"})
    assert settings.hf_token is None
    assert len(settings.warnings) == 1
    assert HIDDEN not in repr(settings)


def test_secrets_are_never_shown() -> None:
    """No representation of the settings or of a secret shows a secret."""
    environ = {
        "HF_TOKEN": HIDDEN,
        "HTTPS_PROXY": "http://user:proxy%20password@proxy.local",
        "URL_REWRITE": "https://a=https://u:mirror-password@b",
        "PEERS": "http://u:peer-password@c",
    }
    settings = read(environ=environ)
    assert settings.hf_token is not None
    for text in (
        repr(settings),
        str(settings),
        repr(settings.hf_token),
        str(settings.hf_token),
        f"{settings.hf_token:}",
        str(dataclasses.asdict(settings)["hf_token"]),
    ):
        for secret in (HIDDEN, "proxy%20password", "mirror-password", "peer-password"):
            assert secret not in text
    assert settings.hf_token.reveal() == HIDDEN
    assert set(settings.secrets) == {HIDDEN, "proxy%20password", "proxy password", "mirror-password", "peer-password"}


def test_secrets_compare_by_their_text() -> None:
    """Two secrets are equal when their texts are; a secret is not equal to its text."""
    assert Secret("a") == Secret("a")
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert Secret("a") != "a"


@pytest.mark.parametrize("name", ["HF_ENDPOINT", "HTTPS_PROXY", "PEERS", "URL_REWRITE"])
def test_wrong_urls_hide_their_password(name: str) -> None:
    """The message about an invalid URL does not show the password in it."""
    error = refused(environ={name: "ftp://user:password-of-mine@host.local"})
    assert "password-of-mine" not in f"{error.message} {error.hint}"


# --- the config file ------------------------------------------------------------------------------------------------


def test_config_file() -> None:
    """The config file sets every kind of value, in the older tool's section and at the top."""
    text = """\
datasets:
  auto_download: false
  phase: balanced
  cache_dir: /volume
  use_hf_cache: false
  max_storage_gb: 0.25
  priorities: {ljspeech: 5, urmp: 1}
  layouts: {libritts: parquet}
license_policy: commercial
accept_licenses: [urmp, musicnet]
max_rate_mb: 20
lock_timeout: 30m
deadline: 90
dataset_repo: off
hf_endpoint: http://hub.local
url_rewrite:
  https://a.example: http://m.local/a
connections: 2
progress_port:
staging_dir: ""
"""
    settings = read(files={CONFIG: text})
    assert settings.auto_download == "false"
    assert settings.phase == "balanced"
    assert settings.data_dir == Path("/volume")
    assert not settings.use_hf_cache
    assert settings.max_storage_bytes == 250_000_000
    assert settings.priorities == {"ljspeech": 5, "urmp": 1}
    assert settings.layouts == {"libritts": "parquet"}
    assert settings.license_policy == "commercial"
    assert settings.accept_licenses == ("urmp", "musicnet")
    assert settings.max_rate_bytes == 20_000_000
    assert settings.lock_timeout_seconds == 1800
    assert settings.deadline_seconds == 90
    assert settings.dataset_repo is None
    assert settings.hf_endpoint == "http://hub.local"
    assert settings.url_rewrite == (("https://a.example", "http://m.local/a"),)
    assert settings.connections == 2
    assert settings.staging_dir is None
    assert settings.origins["DEADLINE"] == f"{CONFIG}:13"


@pytest.mark.parametrize(
    ("text", "line", "problem", "hint"),
    [
        ("datasets:\n  phse: x", 2, "datasets.phse: unknown key 'phse'", "Did you mean 'phase'?"),
        ("\nlicence_policy: any", 2, "licence_policy: unknown key 'licence_policy'", "Did you mean 'license_policy'?"),
        ("phase: x", 1, "phase: unknown key 'phase'", "below 'datasets:'"),
        ("datasets: {connections: 2}", 1, "unknown key 'connections'", "at the top"),
        ("lock_timeout: 6x", 1, "lock_timeout: '6x' is not a duration", "30m"),
        ("datasets: {priorities: {a: 9}}", 1, "datasets.priorities: '9' is not a priority of a", "1 to 5"),
        ("datasets: {priorities: {a: [1]}}", 1, "datasets.priorities.a: expected text, found a list", ""),
        ("datasets: {max_storage_gb: .inf}", 1, "'Infinity' is not a number of GB", "such as 25"),
        ("lock_timeout: [1]", 1, "lock_timeout: expected text, found a list", ""),
        ("hf_token: abc", 1, "hf_token: a secret does not belong in a config file", "HF_TOKEN_FILE"),
        ("ui_token: abc", 1, "ui_token: a secret does not belong in a config file", "UI_TOKEN_FILE"),
        ("config_path: x", 1, "config_path: unknown key 'config_path'", ""),
        ("- a", 1, "expected a mapping, found a list", ""),
        ("datasets: []", 1, "datasets: expected a mapping, found a list", ""),
        ("a: [", 1, "not valid YAML", ""),
    ],
)
def test_wrong_config_file(text: str, line: int, problem: str, hint: str) -> None:
    """The message about a mistake in the config file names file, line and key, and the nearest known key."""
    error = refused(files={CONFIG: text})
    assert error.message.startswith(f"{CONFIG}:{line}: ")
    assert problem in error.message
    assert hint in error.hint
    assert "abc" not in error.message


def test_config_file_that_is_named_must_be_there() -> None:
    """A config file that is named must exist; the default one may be absent."""
    assert read(environ={"CONFIG_PATH": "/c.yaml"}, files={Path("/c.yaml"): "connections: 3"}).connections == 3
    assert refused(environ={"CONFIG_PATH": "/c.yaml"}).message == "CONFIG_PATH: '/c.yaml' does not exist"
    denied = PermissionError(13, "Permission denied")
    assert "cannot be read: Permission denied" in refused(files={CONFIG: denied}).message
    assert "not a text file" in refused(files={CONFIG: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x")}).message


@pytest.mark.parametrize("text", ["", "# nothing\n", "datasets:\n", "datasets: {}\n", "max_rate_mb:\n"])
def test_config_file_without_values(text: str) -> None:
    """An empty config file, section or key sets nothing."""
    assert read(files={CONFIG: text}) == read()


# --- warnings ---------------------------------------------------------------------------------------


def test_unknown_prefixed_variables_are_warned_about() -> None:
    """An unknown variable with our prefix causes a warning with the nearest name, unless Kubernetes sets it."""
    environ = {
        "PROVISIONER_PAHSE": "x",
        "PROVISIONER_SERVICE_HOST": "10.0.0.1",
        "PROVISIONER_SERVICE_PORT_HTTP": "80",
        "PROVISIONER_PORT_80_TCP_ADDR": "10.0.0.1",
        "PROVISIONER_PORT": "tcp://10.0.0.1:80",
        "PROVISIONER_HF_TOKEN_FILE": "",
    }
    assert read(environ=environ).warnings == ("'PROVISIONER_PAHSE' is set and is no setting. Did you mean 'PROVISIONER_PHASE'?",)


# --- any input -------------------------------------------------------------------------------------------------------

_names = st.sampled_from(
    [name for setting in SETTINGS for name in setting.names] + ["HF_TOKEN_FILE", "UI_TOKEN_FILE", "PORT", "XDG_CACHE_HOME"]
)
_texts = st.one_of(
    st.text(max_size=30),
    st.sampled_from([text for _, text, _, _ in EXAMPLES]),
    st.from_regex(r"[0-9.]{1,6}[smhGe]?", fullmatch=True),
    st.from_regex(r"(https?|file)://[a-z:@\[\]/?#=;]{0,12}=?(http://[a-z]+)?", fullmatch=True),
)
_yaml: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@patience(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault
@given(
    overrides=st.dictionaries(st.sampled_from([one.name for one in SETTINGS]), _texts, max_size=3),
    environ=st.dictionaries(_names, _texts, max_size=4),
)
def test_any_environment(overrides: dict[str, str], environ: dict[str, str]) -> None:
    """Any environment results in settings or in one error with a message and a hint."""
    result = attempt(overrides, environ)
    if isinstance(result, Settings):
        assert dataclasses.asdict(result)
        assert "" not in result.secrets
    else:
        assert result.message
        assert result.hint


@patience(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault
@given(key=st.sampled_from([one.key for one in SETTINGS if one.key]), value=_yaml)
def test_any_config_file(key: str, value: object) -> None:
    """Any value in the config file results in settings or in one error that names the file."""
    section, _, inner = key.rpartition(".")
    document = {section: {inner: value}} if section else {inner: value}
    # Most JSON is valid YAML, which is enough to write any value.
    result = attempt({}, {}, {CONFIG: json.dumps(document)})
    assert isinstance(result, Settings) or str(CONFIG) in result.message


@given(token=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=6), noise=st.text(max_size=3))
def test_any_token_stays_hidden(token: str, noise: str) -> None:
    """Neither the settings nor an error about the token shows it."""
    token = f"<<{token}>>"  # distinct from the program's own texts
    result = attempt({}, {"HF_TOKEN": token + noise})
    assert token not in (repr(result) if isinstance(result, Settings) else f"{result.message}{result.hint}{result!r}")
