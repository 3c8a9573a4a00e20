"""All settings, each declared once, and the frozen value that holds them.

The reader, ``--help`` and the tables in the documents use these declarations. Nothing here accesses a disk, a network or the
process's environment: whether a path exists or a phase is known is checked where the value is used.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args
from urllib.parse import unquote

from provisioner.redaction import user_of
from provisioner.settings import dataset_list, parsers
from provisioner.settings.defaults import Surroundings
from provisioner.settings.setting import COMMAND_LINE, Setting, declared_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.settings.repositories import DeclaredRepository
    from provisioner.settings.secret import Secret

AutoDownload = Literal["true", "false", "space"]
OnShortfall = Literal["skip", "fail"]
OnFailure = Literal["fail", "degraded", "page"]
LicensePolicy = Literal["commercial", "curated", "any"]
VolumeKind = Literal["auto", "posix", "object"]
Publish = Literal["link", "dir"]
HubCacheMode = Literal["auto", "off"]
IndexMode = Literal["auto", "off"]
Lock = Literal["flock", "external"]
DatasetRepoKind = Literal["dataset", "bucket"]
AppWorkdir = Literal["keep", "datasets"]
LogFormat = Literal["text", "json"]
Update = Literal["never", "check", "auto"]

DEFAULT_TERMINATION_LOG: Final = Path("/dev/termination-log")
"""If ``TERMINATION_LOG`` is not set and this file exists, an error is written to it as one line of JSON."""

_GIGABYTE: Final = 10**9
_MEGABYTE: Final = 10**6


def _nothing(_: Surroundings) -> tuple[()]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, with defaults filled in, in the order of the documents."""

    phase: str | None = Setting(
        "PHASE",
        parsers.plain_text,
        "the phase of the catalog to provision, or `auto`: the largest phase that fits the limit and the free space; "
        "if none fits, the smallest, as `ON_SHORTFALL` says",
        default_note="`minimal`; the first phase of a catalog that has no such phase",
        other_names=("LEMM_DATASET_PHASE",),
        config_key="datasets.phase",
    ).optional
    """A name that is not yet looked up in the catalog, or ``auto``; ``None`` means the catalog's default phase.

    Without effect where ``datasets`` is not empty."""
    datasets: tuple[tuple[str, str | None], ...] = Setting(
        "DATASETS",
        dataset_list.datasets,
        "data sets, splits, parts or references to provision instead of a phase, such as `ljspeech,nsynth:test`, "
        "`nsynth:train?limit=1000` or `hf://datasets/openslr/librispeech_asr@main`",
        computed_default=_nothing,
        other_names=("STORAGE_URI",),
        config_key="datasets.select",
        separator=",",
    ).required
    """Pairs of id or reference, and split or part (``None``: the whole data set); empty where a phase was asked for."""
    data_dir: Path = Setting(
        "DATA_DIR",
        parsers.root_directory,
        "the root directory of the volume; in a container without a mount there, a warning says that nothing in it will last",
        computed_default=Surroundings.data_dir,
        default_note="`/data` in the image, `./data` in a checkout",
        config_key="datasets.cache_dir",
        expands="home",
    ).required
    config_path: Path = Setting(
        "CONFIG_PATH",
        parsers.path,
        "the config file; it must exist if it is named here",
        computed_default=Surroundings.config_path,
        default_note="`config/config.yaml`",
        config_key=None,
        expands="home",
    ).required
    catalog_paths: tuple[Path, ...] = Setting(
        "CATALOG_PATH",
        parsers.catalogs,
        "the catalog, or several catalogs separated by `:`; a later one adds to the earlier ones and replaces their "
        "entries; an empty path means the shipped catalog, as in `:/srv/site.yaml`",
        computed_default=Surroundings.catalog_paths,
        default_note="`config/catalog.yaml`, the shipped one",
        separator=":",
        expands="home",
    ).required
    auto_download: AutoDownload = Setting(
        "AUTO_DOWNLOAD",
        parsers.truth_or_one_of(get_args(AutoDownload)),
        "`false`: only check, download nothing; `space`: download only where `SPACE_ID` is set",
        default="true",
        config_key="datasets.auto_download",
    ).required
    max_storage_bytes: int | None = Setting(
        "MAX_STORAGE_GB",
        parsers.amount(_GIGABYTE, "GB (10^9 bytes)"),
        "upper limit for everything that the provisioner keeps on the volume, in GB (10^9 bytes)",
        config_key="datasets.max_storage_gb",
    ).optional
    budget_bytes: int | None = Setting(
        "BUDGET_GB",
        parsers.amount(_GIGABYTE, "GB (10^9 bytes)"),
        "divide this size, in GB (10^9 bytes) of examples, among the data sets by priority, and take a part of each, "
        "[selected by a rule](usage.md#selecting-data)",
        config_key="datasets.budget_gb",
    ).optional
    on_shortfall: OnShortfall = Setting(
        "ON_SHORTFALL",
        parsers.one_of(get_args(OnShortfall)),
        "if not everything fits: `skip` leaves out the lowest priorities and ends `partial`; `fail` ends before the first byte",
        default="skip",
    ).required
    on_failure: OnFailure = Setting(
        "ON_FAILURE",
        parsers.one_of(get_args(OnFailure)),
        "`fail`: try every data set, then exit non-zero; `degraded`: start the app in spite of failures; `page`: "
        "keep the progress page up, with the error and advice, until a signal comes, then exit as with `fail`",
        computed_default=Surroundings.on_failure,
        default_note="`fail`; `degraded` where `SPACE_ID` is set",
    ).required
    license_policy: LicensePolicy = Setting(
        "LICENSE_POLICY",
        parsers.one_of(get_args(LicensePolicy)),
        "`commercial`: accept only what the catalog marks as allowed; `curated`: refuse only what it marks as "
        "forbidden, and warn about the rest; `any`: accept everything",
        default="curated",
    ).required
    accept_licenses: tuple[str, ...] = Setting(
        "ACCEPT_LICENSES",
        parsers.names,
        "ids of data sets, separated by commas, whose licences are accepted under every policy",
        computed_default=_nothing,
        separator=",",
    ).required
    priorities: Mapping[str, int] = Setting(
        "PRIORITIES",
        parsers.priorities,
        "priorities, 1 to 5 (highest), that replace those of the catalog, such as `ljspeech=5,urmp=1`",
        computed_default=lambda _: {},
        config_key="datasets.priorities",
        separator=",",
    ).required
    """By id; the ids have not been looked up in the catalog yet."""
    layouts: Mapping[str, str] = Setting(
        "LAYOUTS",
        parsers.layouts,
        "layouts of data sets that replace the catalog's choice, such as `libritts=parquet`",
        computed_default=lambda _: {},
        config_key="datasets.layouts",
        separator=",",
    ).required
    """By id; ids and layouts have not been looked up in the catalog yet."""
    hf_token: Secret | None = Setting(
        "HF_TOKEN",
        parsers.token,
        "a Hub token; `HF_TOKEN_FILE` names a file that contains it (an empty file: no token)",
        default_note="the Hub client's own login",
        other_names=("HUGGING_FACE_HUB_TOKEN",),
        config_key=None,
        secret=True,
    ).optional
    hf_token_path: Path = Setting(
        "HF_TOKEN_PATH",
        parsers.path,
        "the file in which the Hub client keeps its login",
        computed_default=Surroundings.hub_token_path,
        default_note="`HF_HOME/token`",
        expands="variables",
    ).required
    hf_hub_disable_implicit_token: bool = Setting(
        "HF_HUB_DISABLE_IMPLICIT_TOKEN",
        parsers.boolean,
        "do not use the Hub client's login, only `HF_TOKEN`",
        default="false",
    ).required
    hf_endpoint: str = Setting("HF_ENDPOINT", parsers.endpoint, "the URL of the Hub", default="https://huggingface.co").required
    """Without a slash at the end, and without user and password; see ``logins``."""
    hf_home: Path | None = Setting(
        "HF_HOME",
        parsers.path,
        "the Hub client's directory",
        default_note="a directory on the volume in the image, `~/.cache/huggingface` elsewhere",
        expands="variables",
    ).optional
    """``None`` if not set, in which case the Hub client's own default applies."""
    hf_hub_cache: Path = Setting(
        "HF_HUB_CACHE",
        parsers.path,
        "the Hub client's cache, see `USE_HF_CACHE`",
        computed_default=Surroundings.hub_cache,
        default_note="`HF_HOME/hub`",
        other_names=("HUGGINGFACE_HUB_CACHE",),
        expands="variables",
    ).required
    """A directory that need not exist."""
    use_hf_cache: bool = Setting(
        "USE_HF_CACHE",
        parsers.boolean,
        "use files that are already in the Hub client's cache, identified by their digests",
        default="true",
        config_key="datasets.use_hf_cache",
    ).required
    hub_cache: HubCacheMode = Setting(
        "HUB_CACHE",
        parsers.one_of(get_args(HubCacheMode)),
        "`auto`: repositories that are published as they are also appear in the Hub client's cache (`HF_HUB_CACHE`, or a "
        "directory on the volume if neither it nor `HF_HOME` is set), without a copy; `off`: they do not",
        default="auto",
    ).required
    index: IndexMode = Setting(
        "INDEX",
        parsers.one_of(get_args(IndexMode)),
        "`auto`: build an index of examples in `index/ID` for each data set whose files have a known form, see "
        "docs/training.md; `off`: build none, and remove existing ones",
        default="auto",
    ).required
    hf_hub_offline: bool = Setting(
        "HF_HUB_OFFLINE",
        parsers.boolean,
        "make no request at all: use only what is already on the machine",
        default="false",
        other_names=("TRANSFORMERS_OFFLINE",),
    ).required
    http_proxy: str | None = Setting(
        "HTTP_PROXY",
        parsers.proxy,
        "the proxy for every request to an `http` URL",
        preferred_names=("http_proxy",),
        other_names=("all_proxy", "ALL_PROXY"),
        may_hold_password=True,
    ).optional
    https_proxy: str | None = Setting(
        "HTTPS_PROXY",
        parsers.proxy,
        "the proxy for every request to an `https` URL",
        preferred_names=("https_proxy",),
        other_names=("all_proxy", "ALL_PROXY"),
        may_hold_password=True,
    ).optional
    no_proxy: str | None = Setting(
        "NO_PROXY",
        parsers.plain_text,
        "hosts that are reached without a proxy, separated by commas",
        preferred_names=("no_proxy",),
        separator=",",
    ).optional
    ssl_cert_file: Path | None = Setting(
        "SSL_CERT_FILE",
        parsers.path,
        "a file of certificates (PEM) that are trusted instead of the system's, for every connection",
        other_names=("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        expands="home",
    ).optional
    url_rewrite: tuple[tuple[str, str], ...] = Setting(
        "URL_REWRITE",
        parsers.rewrites,
        "prefixes that are replaced in every URL before it is requested, the longest first, such as "
        "`https://data.keithito.com=https://mirror.local/keithito;…`",
        computed_default=_nothing,
        separator=";",
        may_hold_password=True,
    ).required
    """Pairs of prefix and replacement, the longest prefix first."""
    peers: tuple[str, ...] = Setting(
        "PEERS",
        parsers.peers,
        "other volumes, or exports of them, that are asked before every source: directories and `http(s)` "
        "addresses, separated by `;`, such as `/mnt/usb;http://10.0.0.7:7860`; each file is hashed",
        computed_default=_nothing,
        separator=";",
        may_hold_password=True,
    ).required
    """Paths of directories, and URLs without a slash at the end and without user and password; see ``logins``."""
    search_dirs: tuple[Path, ...] = Setting(
        "SEARCH_DIRS",
        parsers.directories,
        "directories, separated by `:`, whose files are used if they have the right digest, whatever their names: "
        "archives that were downloaded by hand, another tool's cache",
        computed_default=_nothing,
        separator=":",
        expands="home",
    ).required
    dataset_repo: str | None = Setting(
        "DATASET_REPO",
        parsers.repository,
        "the user's data-set repository, `NAME` or `OWNER/NAME`, created if it is missing; `none` turns it off",
        default="trackio-experiments",
        default_note="`trackio-experiments` when a token is set",
    ).optional
    """``None`` if turned off. Without a token, this is still the default name."""
    dataset_repo_org: str | None = Setting(
        "DATASET_REPO_ORG", parsers.owner, "the organization that owns the repository", default_note="the token's user"
    ).optional
    dataset_repo_private: bool = Setting(
        "DATASET_REPO_PRIVATE", parsers.boolean, "create the repository as a private one", default="false"
    ).required
    dataset_repo_kind: DatasetRepoKind = Setting(
        "DATASET_REPO_KIND",
        parsers.one_of(get_args(DatasetRepoKind)),
        "`dataset`: a data-set repository; `bucket`: a storage bucket, whose name the app gets as "
        "`TRACKIO_BUCKET_ID`, since trackio warns that it will not keep its data in data sets in future",
        default="dataset",
    ).required
    hf_username: str | None = Setting(
        "HF_USERNAME", parsers.owner, "the user's name on the Hub, used when the Hub cannot be asked"
    ).optional
    connections: int | None = Setting(
        "CONNECTIONS",
        parsers.auto_or(parsers.whole_number(1, 128)),
        "the number of requests at the same time, 1 to 128; `auto`: adapts to each host, at most 64 to one host",
        default="auto",
    ).optional
    """``None`` means as many as increase the throughput."""
    max_rate_bytes: int | None = Setting(
        "MAX_RATE_MB",
        parsers.amount(_MEGABYTE, "MB (10^6 bytes) a second"),
        "bandwidth limit, in MB (10^6 bytes) a second",
    ).optional
    """Bytes per second."""
    volume_kind: VolumeKind = Setting(
        "VOLUME_KIND",
        parsers.one_of(get_args(VolumeKind)),
        "`posix`, or `object` (buckets through FUSE or NFS); `auto` decides by the type of the mount",
        default="auto",
    ).required
    staging_dir: Path | None = Setting(
        "STAGING_DIR",
        parsers.root_directory,
        "a directory for staging outside the volume, such as a local disk beside an `object` volume",
        default_note="on the volume",
        expands="home",
    ).optional
    """``None`` if on the volume."""
    publish: Publish = Setting(
        "PUBLISH",
        parsers.one_of(get_args(Publish)),
        "`link`, or `dir`: publish directories instead of links, for tools that do not follow links",
        default="link",
    ).required
    update: Update = Setting(
        "UPDATE",
        parsers.one_of(get_args(Update)),
        "whether a run asks the sources of published data sets if they have changed: `never`; `check`: report "
        "outdated data sets in the log and the status; `auto`: build the newer version beside the old one, and switch",
        default="never",
    ).required
    pins: Path | None = Setting(
        "PINS",
        parsers.path,
        "a file that `catalog pin` has written: only what it names is accepted, whatever `UPDATE` says",
        expands="home",
    ).optional
    gc_grace_seconds: float = Setting(
        "GC_GRACE",
        parsers.duration(zero=True),
        "how long `gc` leaves a superseded version alone after another one took its name, for apps that still read it "
        "(seconds, or 90s, 30m, 6h, 7d)",
        default="7d",
    ).required
    lock: Lock = Setting(
        "LOCK",
        parsers.one_of(get_args(Lock)),
        "`flock`, or `external`: something else guarantees a single writer (for volumes without working locks)",
        default="flock",
    ).required
    lock_timeout_seconds: float = Setting(
        "LOCK_TIMEOUT",
        parsers.duration(zero=True),
        "how long to wait for another writer (seconds, or 90s, 30m, 6h, 7d)",
        default="6h",
    ).required
    """With 0, do not wait at all."""
    shard: tuple[int, int] | None = Setting(
        "SHARD",
        parsers.share,
        "`i/n`: fetch only this share of the plan, counted from 0; the worker that completes the last share "
        "publishes, or `provision --finish`",
        default_note="none; `JOB_COMPLETION_INDEX` or `SWARM_TASK_SLOT` of `SHARDS`, or `SLURM_ARRAY_TASK_ID` of its array",
        config_key=None,
    ).optional
    """Index and number of shares; ``None`` means the whole plan."""
    deadline_seconds: float | None = Setting(
        "DEADLINE", parsers.duration(zero=False), "time limit of the whole run (seconds, or 90s, 30m, 6h, 7d)"
    ).optional
    log_format: LogFormat = Setting(
        "LOG_FORMAT",
        parsers.one_of(get_args(LogFormat)),
        "`text` or `json`; progress is shown as bars for text on a terminal, and logged every 10 s otherwise",
        default="text",
    ).required
    app_workdir: AppWorkdir = Setting(
        "APP_WORKDIR",
        parsers.one_of(get_args(AppWorkdir)),
        "`datasets`: the app that this program becomes starts in `DATA_DIR/datasets`, so that "
        '`load_dataset("OWNER/NAME")` reads the data sets there; `keep`: it starts in the same directory as this program',
        default="keep",
    ).required
    termination_log: Path | None = Setting(
        "TERMINATION_LOG",
        parsers.path,
        "the file to which an error is written, as one line of JSON",
        default_note=f"`{DEFAULT_TERMINATION_LOG.as_posix()}` where it exists",
        expands="home",
    ).optional
    """``None`` if not set, in which case :data:`DEFAULT_TERMINATION_LOG` is used if it exists."""
    progress_port: int | None = Setting(
        "PROGRESS_PORT",
        parsers.port_or_off,
        "the port of the progress page, which `provision` serves while it works and `serve` at any time; `off`: no page",
        computed_default=Surroundings.progress_port,
        default_note="off; `PORT` or 7860 where `SPACE_ID` is set",
    ).optional
    """``None`` means no page while provisioning."""
    progress_bind: str = Setting(
        "PROGRESS_BIND",
        parsers.address,
        "the address on which the progress page listens; `*`: all addresses",
        computed_default=Surroundings.progress_bind,
        default_note="`*` in the image, `127.0.0.1` elsewhere",
    ).required
    """An IP address, or ``*``."""
    progress_hosts: tuple[str, ...] = Setting(
        "PROGRESS_HOSTS",
        parsers.names,
        "additional host names, separated by commas, under which the progress page answers; it always answers to "
        "addresses, names without a dot, names that no public DNS has (`.local`, `.internal`, `.svc`) and the "
        "Space's own, and refuses all others",
        computed_default=_nothing,
        separator=",",
    ).required
    ui_token: Secret | None = Setting(
        "UI_TOKEN",
        parsers.password,
        "a token of at least 8 characters; anyone who knows it can provision, verify, repair and remove on the page "
        "of `serve`; `UI_TOKEN_FILE` names a file that contains it",
        default_note="none: the page only shows",
        config_key=None,
        secret=True,
    ).optional
    metrics_file: Path | None = Setting(
        "METRICS_FILE",
        parsers.path,
        "a file to which the run's metrics are written at its end, for the textfile collector of Prometheus' node "
        "exporter (`NAME.prom`)",
        expands="home",
    ).optional
    space_id: str | None = Setting(
        "SPACE_ID", parsers.plain_text, "set by the Hub in a Space: its name", config_key=None
    ).optional
    space_author_name: str | None = Setting(
        "SPACE_AUTHOR_NAME", parsers.plain_text, "set by the Hub in a Space: its owner", config_key=None
    ).optional
    space_host: str | None = Setting(
        "SPACE_HOST", parsers.plain_text, "set by the Hub in a Space: the name of its host", config_key=None
    ).optional

    logins: tuple[str, ...] = field(default=(), repr=False)
    """URLs with user and password that apply to their whole origin; ``hf_endpoint`` itself has none."""
    repositories: tuple[DeclaredRepository, ...] = ()
    """The config file's section ``repositories:``; the first one is the app's if ``DATASET_REPO`` names none."""
    dataset_repo_asked: bool = False
    """Whether the user named ``dataset_repo``, so that its failure fails the run."""
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)
    """By name of a setting, the origin of its value: ``command line``, a variable's name, ``file:line`` or ``default``."""
    adopts_trees: bool = False
    """Whether files in ``search_dirs`` may stand for members of archives, by size and CRC-32; set by ``adopt``."""
    warnings: tuple[str, ...] = ()
    """One sentence for each thing that is probably not what the user intended."""

    @property
    def may_download(self) -> bool:
        """Whether bytes may be fetched here; otherwise the volume is only checked."""
        return self.auto_download == "true" or (self.auto_download == "space" and self.space_id is not None)

    @property
    def datasets_label(self) -> str:
        """The beginning of a message about one of ``datasets``: where it was written; empty for the command line."""
        origin = self.origins.get("DATASETS", "DATASETS")
        return "" if origin == COMMAND_LINE else f"{origin}: "

    @property
    def secrets(self) -> tuple[str, ...]:
        """All texts that must never be shown, for the redactor: the token, and passwords in URLs."""
        rules = (url for rule in self.url_rewrite for url in rule)
        urls = (*self.logins, self.http_proxy or "", self.https_proxy or "", *rules)
        users = [user_of(url) or "" for url in urls]
        # Without a password, the user name is the secret: a token.
        passwords = [user.partition(":")[2] or user for user in users]
        tokens = (token.reveal() for token in (self.hf_token, self.ui_token) if token)
        return tuple(dict.fromkeys(filter(None, (*tokens, *passwords, *map(unquote, passwords)))))


ATTRIBUTES: Final[Mapping[str, Setting[Any]]] = declared_settings(Settings)
"""All settings of this version, by attribute of :class:`Settings`."""
SETTINGS: Final[tuple[Setting[Any], ...]] = tuple(ATTRIBUTES.values())
"""The same, in the order of the documents."""

UI_TOKEN_VARIABLES: Final = frozenset(f"{name}{end}" for name in ATTRIBUTES["ui_token"].names for end in ("", "_FILE"))
"""Variables that only this process may have: neither an app nor a command started from the page gets them."""
