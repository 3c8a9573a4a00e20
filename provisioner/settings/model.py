"""What the user asked for: command line, environment and config file become one frozen value.

One table, :data:`SETTINGS`, says for each setting its names, its default, its meaning and how its text is read. Reading,
``--help`` and the tables in the documents all follow it, so that they cannot drift apart.

:func:`read_settings` gets everything as an argument, files included: it never looks at the process's environment or at a
disk by itself. It says nothing about whether a path exists or a phase is known; that is for those who use the value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, NoReturn, TypeVar, get_args
from urllib.parse import unquote, urlsplit

from provisioner.catalog.document import Value, parse_document
from provisioner.errors import ConfigurationError
from provisioner.settings import parsers as texts
from provisioner.settings.parsers import Secret
from provisioner.settings.repositories import DeclaredRepository, read_repositories

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "DEFAULT_TERMINATION_LOG",
    "LATER",
    "PREFIX",
    "SETTINGS",
    "Proxies",
    "Secret",
    "Setting",
    "Settings",
    "help_text",
    "read_settings",
]

AutoDownload = Literal["true", "false", "space"]
OnShortfall = Literal["skip", "fail"]
OnFailure = Literal["fail", "degraded"]
LicensePolicy = Literal["commercial", "curated", "any"]
VolumeKind = Literal["auto", "posix", "object"]
Publish = Literal["link", "dir"]
Lock = Literal["flock", "external"]
LogFormat = Literal["text", "json"]

PREFIX: Final = "PROVISIONER_"
"""Before any name of a setting; the prefixed name wins over the plain one."""
DEFAULT_TERMINATION_LOG: Final = Path("/dev/termination-log")
"""Where an error goes as one line of JSON if nothing was set and this file exists."""
LATER: Final[Mapping[str, str]] = {"PROGRESS_PORT": "this version has no progress page"}
"""Settings of the contract that this version does not honour, and what it lacks; setting one is no error."""

GIGABYTE: Final = 10**9
MEGABYTE: Final = 10**6

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Proxies:
    """How to reach the network, for every path to it; each value is ``None`` when not set."""

    http: str | None = field(default=None, repr=False)
    """URL of the proxy for ``http`` URLs; may hold a password."""
    https: str | None = field(default=None, repr=False)
    """URL of the proxy for ``https`` URLs; may hold a password."""
    no_proxy: str | None = None
    """Hosts that are reached directly, separated by commas, as written."""


@dataclass(frozen=True, slots=True)
class Setting(Generic[T]):
    """One row of the table: a setting's names, default and meaning, and how its text is read."""

    name: str
    """The environment variable."""
    parse: Callable[[str], T]
    """Text to value, see :mod:`provisioner.settings.parsers`; the text is never empty and has no space around it."""
    meaning: str
    """One sentence for ``--help`` and the documents, in Markdown."""
    default: str = ""
    """The text that stands for a value that was not given; empty: there is none."""
    default_note: str = ""
    """What the documents say of the default, where it depends on something."""
    ahead: tuple[str, ...] = ()
    """Other variables that are read, and win over ``name``."""
    also: tuple[str, ...] = ()
    """Other variables that are read when neither ``name`` nor those ``ahead`` are set."""
    config_key: str | None = ""
    """Dotted key of the config file; empty: ``name`` in lower case; ``None``: not to be set there."""
    separator: str = ""
    """What stands between the items of a list, which the config file may also write as a list or a mapping."""
    secret: bool = False
    """Never shown, never in a config file, and ``NAME_FILE`` may name a file that holds it."""
    path: Literal["", "home", "shell"] = ""
    """Whether ``~`` (``home``), and ``$NAME`` as well (``shell``: as the Hub client does), are replaced."""

    @property
    def key(self) -> str | None:
        """The dotted key of the config file, or ``None``."""
        return self.name.lower() if self.config_key == "" else self.config_key

    @property
    def names(self) -> tuple[str, ...]:
        """All variables that are read, the one that wins first."""
        return (PREFIX + self.name, *self.ahead, self.name, *self.also)


# --- the table ------------------------------------------------------------------------------------------------------

PHASE: Final = Setting(
    "PHASE",
    texts.plain_text,
    "a phase of the catalog, or `auto`: the largest that fits limit and free space, else the smallest with `ON_SHORTFALL`",
    default="minimal",
    also=("LEMM_DATASET_PHASE",),
    config_key="datasets.phase",
)
DATASETS: Final = Setting(
    "DATASETS",
    texts.datasets,
    "`ljspeech,nsynth:test`: these data sets or splits instead of a phase",
    config_key="datasets.select",
    separator=",",
)
DATA_DIR: Final = Setting(
    "DATA_DIR",
    texts.path,
    "the volume's root; when it is not a mount point, a warning that nothing will last",
    default_note="`/data` in the image, `./data` in a checkout",
    config_key="datasets.cache_dir",
    path="home",
)
CONFIG_PATH: Final = Setting(
    "CONFIG_PATH",
    texts.path,
    "the config file; one that was named must be there",
    default_note="`config/config.yaml`",
    config_key=None,
    path="home",
)
CATALOG_PATH: Final = Setting("CATALOG_PATH", texts.path, "the catalog", default_note="`config/catalog.yaml`", path="home")
AUTO_DOWNLOAD: Final[Setting[AutoDownload]] = Setting(
    "AUTO_DOWNLOAD",
    texts.truth_or_one_of(get_args(AutoDownload)),
    "`false`: check only; `space`: only where `SPACE_ID` is set",
    default="true",
    config_key="datasets.auto_download",
)
MAX_STORAGE_GB: Final = Setting(
    "MAX_STORAGE_GB",
    texts.amount(GIGABYTE, "GB (10^9 bytes)"),
    "upper limit for all that the provisioner keeps on the volume (10^9 bytes)",
    config_key="datasets.max_storage_gb",
)
ON_SHORTFALL: Final[Setting[OnShortfall]] = Setting(
    "ON_SHORTFALL",
    texts.one_of(get_args(OnShortfall)),
    "what does not fit: `skip` the lowest priorities and end `partial`, or `fail` before the first byte",
    default="skip",
)
ON_FAILURE: Final[Setting[OnFailure]] = Setting(
    "ON_FAILURE",
    texts.one_of(get_args(OnFailure)),
    "`fail`: try every data set, then exit non-zero; `degraded`: start the app all the same",
    default="fail",
    default_note="`fail`; `degraded` where `SPACE_ID` is set",
)
LICENSE_POLICY: Final[Setting[LicensePolicy]] = Setting(
    "LICENSE_POLICY",
    texts.one_of(get_args(LicensePolicy)),
    "`commercial` (only what the catalog marks allowed), `curated` (refuse only what is marked forbidden; warn of the rest)"
    ", `any`",
    default="curated",
)
ACCEPT_LICENSES: Final = Setting(
    "ACCEPT_LICENSES",
    texts.names,
    "ids of data sets accepted one by one, whatever the policy, separated by commas",
    separator=",",
)
HF_TOKEN: Final = Setting(
    "HF_TOKEN",
    texts.token,
    "a token of the Hub, or `HF_TOKEN_FILE`: a file that holds it (an empty file: no token)",
    default_note="the Hub client's own login",
    also=("HUGGING_FACE_HUB_TOKEN",),
    config_key=None,
    secret=True,
)
HF_TOKEN_PATH: Final = Setting(
    "HF_TOKEN_PATH", texts.path, "where the Hub client keeps its login", default_note="`HF_HOME/token`", path="shell"
)
HF_HUB_DISABLE_IMPLICIT_TOKEN: Final = Setting(
    "HF_HUB_DISABLE_IMPLICIT_TOKEN", texts.boolean, "leave the Hub client's login alone: only `HF_TOKEN` counts", default="false"
)
HF_ENDPOINT: Final = Setting("HF_ENDPOINT", texts.endpoint, "the Hub to ask", default="https://huggingface.co")
HF_HOME: Final = Setting(
    "HF_HOME",
    texts.path,
    "the Hub client's folder",
    default_note="a folder on the volume in the image, `~/.cache/huggingface` elsewhere",
    path="shell",
)
HF_HUB_CACHE: Final = Setting(
    "HF_HUB_CACHE",
    texts.path,
    "the Hub client's cache, see `USE_HF_CACHE`",
    default_note="`HF_HOME/hub`",
    also=("HUGGINGFACE_HUB_CACHE",),
    path="shell",
)
HF_HUB_OFFLINE: Final = Setting(
    "HF_HUB_OFFLINE", texts.boolean, "only what is here: no request is made", default="false", also=("TRANSFORMERS_OFFLINE",)
)
HTTP_PROXY: Final = Setting(
    "HTTP_PROXY", texts.proxy, "proxy for `http` URLs, on every path", ahead=("http_proxy",), also=("all_proxy", "ALL_PROXY")
)
HTTPS_PROXY: Final = Setting(
    "HTTPS_PROXY", texts.proxy, "proxy for `https` URLs, on every path", ahead=("https_proxy",), also=("all_proxy", "ALL_PROXY")
)
NO_PROXY: Final = Setting(
    "NO_PROXY", texts.plain_text, "hosts that are reached directly, separated by commas", ahead=("no_proxy",), separator=","
)
SSL_CERT_FILE: Final = Setting(
    "SSL_CERT_FILE",
    texts.path,
    "certificates (PEM) to trust instead of the system's, on every path",
    also=("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    path="home",
)
URL_REWRITE: Final = Setting(
    "URL_REWRITE",
    texts.rewrites,
    "`https://data.keithito.com=https://mirror.local/keithito;…`: prefixes swapped before any request, the longest first",
    separator=";",
)
DATASET_REPO: Final = Setting(
    "DATASET_REPO",
    texts.repository,
    "the user's data-set repository, `NAME` or `OWNER/NAME`, made when missing; `none` turns it off",
    default="trackio-experiments",
    default_note="`trackio-experiments` when a token is set",
)
DATASET_REPO_ORG: Final = Setting(
    "DATASET_REPO_ORG", texts.owner, "the organization that owns the repository", default_note="the token's user"
)
DATASET_REPO_PRIVATE: Final = Setting("DATASET_REPO_PRIVATE", texts.boolean, "make the repository a private one", default="false")
CONNECTIONS: Final = Setting("CONNECTIONS", texts.whole_number(1, 128), "how many requests at once", default="8")
MAX_RATE_MB: Final = Setting(
    "MAX_RATE_MB", texts.amount(MEGABYTE, "MB (10^6 bytes) a second"), "bandwidth cap (10^6 bytes a second)"
)
VOLUME_KIND: Final[Setting[VolumeKind]] = Setting(
    "VOLUME_KIND",
    texts.one_of(get_args(VolumeKind)),
    "`posix`, or `object` (buckets through FUSE or NFS); `auto` reads the mount type, not only a probe",
    default="auto",
)
STAGING_DIR: Final = Setting(
    "STAGING_DIR",
    texts.path,
    "staging elsewhere: local disk beside an `object` volume",
    default_note="on the volume",
    path="home",
)
PUBLISH: Final[Setting[Publish]] = Setting(
    "PUBLISH",
    texts.one_of(get_args(Publish)),
    "`link`, or `dir`: publish directories instead of links, for tools that do not follow links",
    default="link",
)
LOCK: Final[Setting[Lock]] = Setting(
    "LOCK",
    texts.one_of(get_args(Lock)),
    "`external`: somebody else guarantees one writer (volumes without working locks)",
    default="flock",
)
LOCK_TIMEOUT: Final = Setting(
    "LOCK_TIMEOUT",
    texts.duration(zero=True),
    "how long to wait for another writer (seconds, or 90s, 30m, 6h)",
    default="6h",
)
DEADLINE: Final = Setting("DEADLINE", texts.duration(zero=False), "limit of the whole run (seconds, or 90s, 30m, 6h)")
LOG_FORMAT: Final[Setting[LogFormat]] = Setting(
    "LOG_FORMAT",
    texts.one_of(get_args(LogFormat)),
    "`text` or `json`; progress bars only on a terminal, a line every 10 s otherwise",
    default="text",
)
TERMINATION_LOG: Final = Setting(
    "TERMINATION_LOG",
    texts.path,
    "the file that gets an error as one line of JSON",
    default_note=f"`{DEFAULT_TERMINATION_LOG.as_posix()}` where it exists",
    path="home",
)
PRIORITIES: Final = Setting(
    "PRIORITIES",
    texts.priorities,
    "`ljspeech=5,urmp=1`: priorities, 1 to 5, instead of the catalog's own",
    config_key="datasets.priorities",
    separator=",",
)
LAYOUTS: Final = Setting(
    "LAYOUTS",
    texts.layouts,
    "`libritts=parquet`: which layout of a data set to take, instead of the catalog's choice",
    config_key="datasets.layouts",
    separator=",",
)
USE_HF_CACHE: Final = Setting(
    "USE_HF_CACHE",
    texts.boolean,
    "bytes that are already in the Hub client's cache are used, by digest",
    default="true",
    config_key="datasets.use_hf_cache",
)
HF_USERNAME: Final = Setting("HF_USERNAME", texts.owner, "the user's name on the Hub, for when the Hub cannot be asked")
SPACE_ID: Final = Setting("SPACE_ID", texts.plain_text, "set by the Hub in a Space", config_key=None)
SPACE_AUTHOR_NAME: Final = Setting("SPACE_AUTHOR_NAME", texts.plain_text, "set by the Hub in a Space: its owner", config_key=None)

SETTINGS: Final[tuple[Setting[Any], ...]] = (
    PHASE,
    DATASETS,
    DATA_DIR,
    CONFIG_PATH,
    CATALOG_PATH,
    AUTO_DOWNLOAD,
    MAX_STORAGE_GB,
    ON_SHORTFALL,
    ON_FAILURE,
    LICENSE_POLICY,
    ACCEPT_LICENSES,
    PRIORITIES,
    LAYOUTS,
    HF_TOKEN,
    HF_TOKEN_PATH,
    HF_HUB_DISABLE_IMPLICIT_TOKEN,
    HF_ENDPOINT,
    HF_HOME,
    HF_HUB_CACHE,
    USE_HF_CACHE,
    HF_HUB_OFFLINE,
    HTTP_PROXY,
    HTTPS_PROXY,
    NO_PROXY,
    SSL_CERT_FILE,
    URL_REWRITE,
    DATASET_REPO,
    DATASET_REPO_ORG,
    DATASET_REPO_PRIVATE,
    HF_USERNAME,
    CONNECTIONS,
    MAX_RATE_MB,
    VOLUME_KIND,
    STAGING_DIR,
    PUBLISH,
    LOCK,
    LOCK_TIMEOUT,
    DEADLINE,
    LOG_FORMAT,
    TERMINATION_LOG,
    SPACE_ID,
    SPACE_AUTHOR_NAME,
)
"""Every setting that this version honours, in the order of the documents."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All that was asked for, with the defaults filled in; nothing in it was looked up on a disk or a network."""

    phase: str
    """A phase's name, not yet looked up in the catalog, or ``auto``; of no effect where ``datasets`` is not empty."""
    datasets: tuple[tuple[str, str | None], ...]
    """Ids with a split, or with ``None`` for the whole; empty where a phase was asked for."""
    data_dir: Path
    config_path: Path
    catalog_path: Path
    auto_download: AutoDownload
    max_storage_bytes: int | None
    on_shortfall: OnShortfall
    on_failure: OnFailure
    license_policy: LicensePolicy
    accept_licenses: tuple[str, ...]
    hf_token: Secret | None
    hf_endpoint: str
    """Without a slash at its end."""
    hf_home: Path | None
    """``None``: not set, the Hub client's own default holds."""
    hf_hub_cache: Path
    """The Hub client's cache, whether it exists or not."""
    hf_hub_offline: bool
    proxies: Proxies
    ssl_cert_file: Path | None
    url_rewrite: tuple[tuple[str, str], ...] = field(repr=False)
    """Prefix and replacement, the longest prefix first; a replacement may hold a password."""
    dataset_repo: str | None
    """``NAME`` or ``OWNER/NAME``; ``None``: turned off. Without a token the default name still stands here."""
    dataset_repo_asked: bool
    """The user named it, so that its failure is the run's."""
    dataset_repo_org: str | None
    dataset_repo_private: bool
    repositories: tuple[DeclaredRepository, ...]
    """What the config file's section of that name describes; the first one is the app's where ``DATASET_REPO`` names none."""
    connections: int
    max_rate_bytes: int | None
    """Bytes a second."""
    volume_kind: VolumeKind
    staging_dir: Path | None
    """``None``: on the volume."""
    publish: Publish
    lock: Lock
    lock_timeout_seconds: float
    """0: do not wait at all."""
    deadline_seconds: float | None
    log_format: LogFormat
    termination_log: Path | None
    """``None``: not set, :data:`DEFAULT_TERMINATION_LOG` holds where it exists."""
    priorities: Mapping[str, int]
    """By id, 1 to 5; ids are not yet looked up in the catalog."""
    layouts: Mapping[str, str]
    """By id; ids and layouts are not yet looked up in the catalog."""
    use_hf_cache: bool
    space_id: str | None
    hf_username: str | None
    space_author_name: str | None
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Setting to where its value came from: ``command line``, a variable's name, ``file:line`` or ``default``."""
    unused: tuple[str, ...] = ()
    """One sentence for each setting that was set and has no effect in this version."""
    warnings: tuple[str, ...] = ()
    """One sentence for each thing that is probably not what the user meant."""

    @property
    def may_download(self) -> bool:
        """Whether bytes may be fetched here; otherwise the volume is only checked."""
        return self.auto_download == "true" or (self.auto_download == "space" and self.space_id is not None)

    @property
    def secrets(self) -> tuple[str, ...]:
        """All texts that must never be shown, for the redactor: the token and passwords in URLs."""
        urls = (self.hf_endpoint, self.proxies.http or "", self.proxies.https or "", *(to for _, to in self.url_rewrite))
        passwords = [urlsplit(url).password or "" for url in urls]
        token = self.hf_token.reveal() if self.hf_token else ""
        return tuple(dict.fromkeys(filter(None, (token, *passwords, *map(unquote, passwords)))))


# --- reading --------------------------------------------------------------------------------------------------------

_COMMAND_LINE: Final = "command line"
_DEFAULT: Final = "default"


@dataclass(frozen=True, slots=True)
class _Found:
    """A text that was found for a setting, with the place to name when it is wrong."""

    text: str = field(repr=False)
    origin: str
    label: str
    """How a message names the setting."""
    rank: int
    """0 for the command line, 1 for the environment, 2 for the config file."""
    place: Value | None = None

    def refuse(self, bad: texts.BadTextError) -> NoReturn:
        if self.place is not None:
            self.place.fail(bad.problem, bad.hint)
        raise ConfigurationError(f"{self.label}: {bad.problem}", hint=bad.hint) from None


@dataclass(slots=True)
class _Reader:
    """Finds each setting's text where it was given first, reads it, and remembers where that was."""

    overrides: Mapping[str, str]
    environ: Mapping[str, str]
    read_text: Callable[[Path], str]
    home: Path
    config: Mapping[str, Value] = field(default_factory=dict)
    """Dotted key to value."""
    origins: dict[str, str] = field(default_factory=dict)

    def given(self, setting: Setting[T]) -> T | None:
        """Return the value that somebody set, or ``None``."""
        found = self.find(setting)
        return self.parse(setting, found) if found is not None else None

    def value(self, setting: Setting[T]) -> T:
        """Return the value that somebody set, or the table's default."""
        found = self.find(setting)
        return setting.parse(setting.default) if found is None else self.parse(setting, found)

    def parse(self, setting: Setting[T], found: _Found) -> T:
        """Read what was found."""
        try:
            return setting.parse(self._expanded(setting, found.text))
        except texts.BadTextError as bad:
            found.refuse(bad)

    def find(self, setting: Setting[T]) -> _Found | None:
        """Return the text that wins, or ``None``."""
        found = self._find_override(setting) or self._find_variable(setting) or self._find_key(setting)
        self.origins[setting.name] = found.origin if found else _DEFAULT
        return found

    def _find_override(self, setting: Setting[T]) -> _Found | None:
        text = self.overrides.get(setting.name, "").strip()
        return _Found(text, _COMMAND_LINE, setting.name, 0) if text else None

    def _find_variable(self, setting: Setting[T]) -> _Found | None:
        for name in setting.names:
            text = self.environ.get(name, "").strip()
            path = self.environ.get(f"{name}_FILE", "").strip() if setting.secret else ""
            if text and path:
                raise ConfigurationError(f"{name} and {name}_FILE are both set", hint="Keep one of them.")
            if path:
                return _Found(self._secret_in(f"{name}_FILE", path), f"{name}_FILE", f"{name}_FILE", 1)
            if text:
                return _Found(text, name, name, 1)
        return None

    def _find_key(self, setting: Setting[T]) -> _Found | None:
        value = self.config.get(setting.key) if setting.key else None
        text = _written(value, setting.separator).strip() if value is not None else ""
        return _Found(text, f"{value.file}:{value.line}", setting.name, 2, value) if text and value is not None else None

    def _secret_in(self, name: str, path: str) -> str:
        try:
            return self.read_text(texts.path(self._home_expanded(path))).strip()
        except texts.BadTextError as bad:
            raise ConfigurationError(f"{name}: {bad.problem}", hint=bad.hint) from None
        except OSError as error:
            reason = error.strerror or type(error).__name__
            hint = "Mount the secret, or make the file readable for this user."
            raise ConfigurationError(f"{name}: {texts.shown(path)} cannot be read: {reason}", hint=hint) from None
        except ValueError:
            # What the file holds stays out of the message: it is, or was meant to be, a secret.
            raise ConfigurationError(
                f"{name}: {texts.shown(path)} is not a text file", hint="Write the secret as text."
            ) from None

    def _expanded(self, setting: Setting[T], text: str) -> str:
        if not setting.path:
            return text
        text = self._home_expanded(text)
        if setting.path == "shell":
            text = re.sub(r"\$(?:(\w+)|\{(\w+)\})", lambda match: self.environ.get(match[1] or match[2], match[0]), text)
        return text

    def _home_expanded(self, text: str) -> str:
        return f"{self.home}{text[1:]}" if re.match(r"~(?:[/\\]|$)", text) else text


def _written(value: Value, separator: str) -> str:
    """Return a value of the config file as the text that a variable would hold; empty when nothing is written."""
    match value.data:
        case None:
            return ""
        case list() if separator:
            return separator.join(_scalar(item) for item in value.items())
        case dict() if separator:
            return separator.join(f"{key}={_scalar(item)}" for key, item in value.mapping().items())
        case _:
            return _scalar(value)


def _scalar(value: Value) -> str:
    match value.data:
        case bool():
            return "true" if value.data else "false"
        case int():
            return str(value.data)
        case float():
            return f"{Decimal(repr(value.data)):f}"
        case _:
            return value.text()


_SECTION: Final = "datasets"
_REPOSITORIES: Final = "repositories"


def _read_config(text: str, file: str) -> Mapping[str, Value]:
    """Return the config file's values by dotted key; unknown keys and secrets are refused."""
    root = parse_document(text, file)
    keys = {setting.key for setting in SETTINGS if setting.key} | {name.lower() for name in LATER}
    inner = {key.removeprefix(f"{_SECTION}.") for key in keys if key.startswith(f"{_SECTION}.")}
    outer = {key for key in keys if "." not in key}
    secrets = {name.lower() for setting in SETTINGS if setting.secret for name in (setting.name, *setting.also)}
    for key, value in root.mapping().items():
        if key.lower() in secrets:
            variable = key.upper()
            value.fail("a secret does not belong in a config file", f"Set {variable} or {variable}_FILE in the environment.")
        if key in inner:
            value.fail(f"unknown key {key!r}", f"Write it below '{_SECTION}:'.")
    top = root.mapping({*outer, _SECTION, _REPOSITORIES})
    values = {key: value for key, value in top.items() if key != _SECTION}
    section = top.get(_SECTION)
    if section is not None and section.data is not None:
        for key in section.mapping():
            if key in outer and key not in inner:
                section.mapping()[key].fail(f"unknown key {key!r}", f"Write it at the top, not below '{_SECTION}:'.")
        values.update((f"{_SECTION}.{key}", value) for key, value in section.mapping(inner).items())
    return values


def _load_config(reader: _Reader, default: Path) -> Path:
    """Read the config file into ``reader``; only one that nobody asked for may be absent."""
    asked = reader.given(CONFIG_PATH)
    path = asked or default
    try:
        text = reader.read_text(path)
    except (FileNotFoundError, NotADirectoryError):
        if asked is None:
            return path
        raise ConfigurationError(
            f"{CONFIG_PATH.name}: {str(path)!r} does not exist", hint="Correct the path, or leave it empty for the default."
        ) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError(f"{path} cannot be read: {reason}", hint="Make the file readable for this user.") from None
    except ValueError:
        raise ConfigurationError(f"{path} is not a text file", hint="Save the file as UTF-8 text.") from None
    reader.config = _read_config(text, str(path))
    return path


def _read_token(reader: _Reader, hub_home: Path, warnings: list[str]) -> Secret | None:
    found = reader.find(HF_TOKEN)
    path = reader.given(HF_TOKEN_PATH) or hub_home / "token"
    implicit = not reader.value(HF_HUB_DISABLE_IMPLICIT_TOKEN)
    if found is not None:
        # An empty file is how a deployment says "no token": the machine's own login is not to step in.
        return reader.parse(HF_TOKEN, found) if found.text else None
    if not implicit:
        return None
    try:
        text = reader.read_text(path).strip()
        token = texts.token(text) if text else None
    except (OSError, ValueError):
        return None  # nobody asked for it: not logged in is the usual case
    except texts.BadTextError as bad:
        warnings.append(f"The Hub client's login in {path} is not used: {bad.problem}.")
        return None
    if token is not None:
        reader.origins[HF_TOKEN.name] = str(path)
    return token


# A Kubernetes service called "provisioner" puts PROVISIONER_SERVICE_HOST and its like into every pod's environment.
_INJECTED: Final = re.compile(r"PROVISIONER_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_\w+)?)")


def _unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return a sentence for each variable with our prefix that no setting reads."""
    known = tuple(f"{PREFIX}{name}" for name in (*(setting.name for setting in SETTINGS), *LATER))
    files = {f"{PREFIX}{setting.name}_FILE" for setting in SETTINGS if setting.secret}
    return [
        f"{texts.shown(name)} is set and is no setting. {texts.guess(name, known)}".rstrip()
        for name in sorted(environ)
        if name.startswith(PREFIX) and name not in {*known, *files} and not _INJECTED.fullmatch(name)
    ]


def _unused(reader: _Reader) -> list[str]:
    """Return a sentence for each setting that was set, and that this version does not have."""
    sentences = []
    for name, lack in LATER.items():
        places = [reader.overrides.get(name), *(reader.environ.get(variable) for variable in (f"{PREFIX}{name}", name))]
        value = reader.config.get(name.lower())
        if any(text and text.strip() for text in places) or (value is not None and value.data is not None):
            sentences.append(f"{name} is set: {lack}")
    return sentences


def read_settings(
    overrides: Mapping[str, str],
    environ: Mapping[str, str],
    *,
    read_text: Callable[[Path], str],
    home: Path,
    app_root: Path,
    in_image: bool = False,
) -> Settings:
    """Return all settings: those of the command line, the environment, the config file, the defaults, in this order.

    Args:
        overrides: what the command line said, by the names of the variables; an empty text says nothing.
        environ: the environment.
        read_text: gives a file's text; raises ``OSError``, or ``ValueError`` where it is not text.
        home: the user's home directory.
        app_root: the directory that holds ``config/``.
        in_image: whether this is the container image, where the volume is at ``/data``.

    Raises:
        ConfigurationError: a value cannot be understood, or a file that was named cannot be read.
    """
    known = tuple(setting.name for setting in SETTINGS)
    for name in overrides:
        if name not in {*known, *LATER}:
            raise ConfigurationError(f"{texts.shown(name)} is no setting", hint=texts.guess(name, known))
    reader = _Reader(overrides, environ, read_text, home)
    config_path = _load_config(reader, app_root / "config" / "config.yaml")
    warnings = _unknown_variables(environ)

    caches = environ.get("XDG_CACHE_HOME", "").strip()
    hf_home = reader.given(HF_HOME)
    hub_home = hf_home or (Path(caches) if caches else home / ".cache") / "huggingface"

    # "These instead of a phase" holds among equals; a phase on the command line beats data sets in the environment.
    phase = reader.find(PHASE)
    datasets = reader.find(DATASETS)
    phase_wins = phase is not None and datasets is not None and phase.rank < datasets.rank
    space_id = reader.given(SPACE_ID)
    repository = reader.given(DATASET_REPO)

    return Settings(
        phase=reader.value(PHASE),
        datasets=() if phase_wins else reader.given(DATASETS) or (),
        data_dir=reader.given(DATA_DIR) or Path("/data" if in_image else "data"),
        config_path=config_path,
        catalog_path=reader.given(CATALOG_PATH) or app_root / "config" / "catalog.yaml",
        auto_download=reader.value(AUTO_DOWNLOAD),
        max_storage_bytes=reader.given(MAX_STORAGE_GB),
        on_shortfall=reader.value(ON_SHORTFALL),
        on_failure=reader.given(ON_FAILURE) or ("degraded" if space_id else "fail"),
        license_policy=reader.value(LICENSE_POLICY),
        accept_licenses=reader.given(ACCEPT_LICENSES) or (),
        hf_token=_read_token(reader, hub_home, warnings),
        hf_endpoint=reader.value(HF_ENDPOINT),
        hf_home=hf_home,
        hf_hub_cache=reader.given(HF_HUB_CACHE) or hub_home / "hub",
        hf_hub_offline=reader.value(HF_HUB_OFFLINE),
        proxies=Proxies(reader.given(HTTP_PROXY), reader.given(HTTPS_PROXY), reader.given(NO_PROXY)),
        ssl_cert_file=reader.given(SSL_CERT_FILE),
        url_rewrite=reader.given(URL_REWRITE) or (),
        dataset_repo=reader.value(DATASET_REPO) or None,
        dataset_repo_asked=bool(repository),
        dataset_repo_org=reader.given(DATASET_REPO_ORG),
        dataset_repo_private=reader.value(DATASET_REPO_PRIVATE),
        repositories=read_repositories(reader.config[_REPOSITORIES]) if _REPOSITORIES in reader.config else (),
        connections=reader.value(CONNECTIONS),
        max_rate_bytes=reader.given(MAX_RATE_MB),
        volume_kind=reader.value(VOLUME_KIND),
        staging_dir=reader.given(STAGING_DIR),
        publish=reader.value(PUBLISH),
        lock=reader.value(LOCK),
        lock_timeout_seconds=reader.value(LOCK_TIMEOUT),
        deadline_seconds=reader.given(DEADLINE),
        log_format=reader.value(LOG_FORMAT),
        termination_log=reader.given(TERMINATION_LOG),
        priorities=reader.given(PRIORITIES) or {},
        layouts=reader.given(LAYOUTS) or {},
        use_hf_cache=reader.value(USE_HF_CACHE),
        space_id=space_id,
        hf_username=reader.given(HF_USERNAME),
        space_author_name=reader.given(SPACE_AUTHOR_NAME),
        origins=reader.origins,
        unused=tuple(_unused(reader)),
        warnings=tuple(warnings),
    )


def help_text(width: int = 100) -> str:
    """Return the table of settings for ``--help``, in lines of at most ``width`` characters where words allow it."""
    lines = []
    for setting in SETTINGS:
        default = (setting.default_note or setting.default).replace("`", "")
        lines.append(f"  {setting.name}" + (f" [{default}]" if default else ""))
        line = "     "
        for word in setting.meaning.replace("`", "").split():
            if len(line) + 1 + len(word) > width:
                lines.append(line)
                line = "     "
            line += f" {word}"
        lines.append(line)
    return "\n".join(lines)
