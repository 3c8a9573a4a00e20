"""The reader of all settings: from the command line, the environment and the config file to one frozen value."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from provisioner.errors import ConfigurationError
from provisioner.redaction import user_of, without_user
from provisioner.settings import parsers
from provisioner.settings.config_file import REPOSITORIES, parse_config
from provisioner.settings.defaults import Surroundings
from provisioner.settings.lookup import Lookup
from provisioner.settings.repositories import read_repositories
from provisioner.settings.setting import PREFIX
from provisioner.settings.settings import ATTRIBUTES, SETTINGS, Settings
from provisioner.settings.written import unwrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from provisioner.settings.secret import Secret

# For a service called "provisioner", Kubernetes adds PROVISIONER_SERVICE_HOST and similar variables to every pod.
_INJECTED: Final = re.compile(r"PROVISIONER_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_\w+)?)")

_PLAIN_NAME: Final = re.compile(r"\w+", re.ASCII)


def read_settings(
    overrides: Mapping[str, str],
    environ: Mapping[str, str],
    *,
    read_text: Callable[[Path], str],
    home: Path,
    app_root: Path,
    in_image: bool = False,
) -> Settings:
    """Return all settings; command line, environment, config file and defaults take precedence in this order.

    Args:
        overrides: the texts from the command line, by the names of the variables; an empty text counts as not given.
        environ: the environment.
        read_text: returns a file's text; raises ``OSError``, or ``ValueError`` if the file is not text.
        home: the user's home directory.
        app_root: the directory that contains ``config/``.
        in_image: whether the program runs in its container image, where the volume is at ``/data``.

    Raises:
        ConfigurationError: a value is not valid, or a named file cannot be read.
    """
    known = tuple(setting.name for setting in SETTINGS)
    for name in overrides:
        if name not in known:
            raise ConfigurationError(f"{parsers.shown(name)} is no setting", hint=parsers.guess(name, known))
    _check_names(environ)
    lookup = Lookup(overrides, _with_share(environ), read_text=read_text, home=home)
    cache_home = environ.get("XDG_CACHE_HOME", "").strip()
    surroundings = Surroundings(home, app_root, in_image, Path(cache_home) if cache_home else None)
    _load_config(lookup, surroundings.config_path())
    surroundings = replace(
        surroundings,
        hf_home=lookup.given(ATTRIBUTES["hf_home"]),
        in_space=lookup.given(ATTRIBUTES["space_id"]) is not None,
        space_port=environ.get("PORT", "").strip(),
    )
    values: dict[str, Any] = {
        attribute: lookup.value(setting, surroundings) for attribute, setting in ATTRIBUTES.items() if attribute != "hf_token"
    }
    token, warnings = _read_token(lookup, values["hf_token_path"], use_login=not values["hf_hub_disable_implicit_token"])
    if _phase_wins(lookup):
        values["datasets"] = ()
    (shipped,) = surroundings.catalog_paths()
    values["catalog_paths"] = tuple(shipped if path == parsers.SHIPPED else path for path in values["catalog_paths"])
    values["dataset_repo"] = values["dataset_repo"] or None
    endpoint = values["hf_endpoint"]
    values["hf_endpoint"] = without_user(endpoint)
    with_login = (endpoint, *values["peers"])
    values["peers"] = tuple(without_user(peer) for peer in values["peers"])
    return Settings(
        **values,
        logins=tuple(url for url in with_login if user_of(url)),
        hf_token=token,
        dataset_repo_asked=bool(lookup.given(ATTRIBUTES["dataset_repo"])),
        repositories=read_repositories(lookup.config[REPOSITORIES]) if REPOSITORIES in lookup.config else (),
        origins=lookup.origins,
        warnings=(*_unknown_variables(environ), *warnings),
    )


def _with_share(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the environment with ``SHARD`` derived from the index of a job's task, unless it is set."""

    def value(name: str) -> str:
        return environ.get(name, "").strip()

    if value("SHARD") or value(f"{PREFIX}SHARD"):
        return environ
    if value("JOB_COMPLETION_INDEX") and value("SHARDS"):
        return {**environ, "SHARD": f"{value('JOB_COMPLETION_INDEX')}/{value('SHARDS')}"}
    if value("SWARM_TASK_SLOT") and value("SHARDS"):
        return {**environ, "SHARD": f"{_index_of_slot(value('SWARM_TASK_SLOT'))}/{value('SHARDS')}"}
    index, lowest, count = value("SLURM_ARRAY_TASK_ID"), value("SLURM_ARRAY_TASK_MIN") or "0", value("SLURM_ARRAY_TASK_COUNT")
    if index.isascii() and index.isdigit() and lowest.isascii() and lowest.isdigit() and count:
        return {**environ, "SHARD": f"{max(0, int(index) - int(lowest))}/{count}"}
    return environ


def _index_of_slot(slot: str) -> str:
    """Return the index of a task in a replicated job of Swarm, whose slots count from 0.

    For slot 0, the template ``{{.Task.Slot}}`` yields the node's id of 25 letters and digits, because 0 counts as unset.
    """
    return "0" if re.fullmatch(r"[0-9a-z]{25}", slot) else slot


def _check_names(environ: Mapping[str, str]) -> None:
    """Refuse a variable whose name is a setting plus a mark, a blank or ``export``, as read from a malformed env file."""
    for name in environ:
        if _PLAIN_NAME.fullmatch(name):
            continue
        meant = re.sub(r"^export\s+", "", unwrapped(name)).strip("\"'")
        if meant.removesuffix("_FILE").removeprefix(PREFIX) in {known for setting in SETTINGS for known in setting.names}:
            raise ConfigurationError(
                f"{name!a} is not the name of a variable, and would not be read as {meant}",
                hint="Look at the file that it comes from: no export, blank, quote or byte order mark around the name.",
            )


def _load_config(lookup: Lookup, default: Path) -> None:
    """Read the config file, which may be missing if the user did not name it."""
    setting = ATTRIBUTES["config_path"]
    named = lookup.given(setting)
    path = named or default
    try:
        text = lookup.read_text(path)
    except (FileNotFoundError, NotADirectoryError):
        if named is None:
            return
        raise ConfigurationError(
            f"{setting.name}: {str(path)!r} does not exist", hint="Correct the path, or leave it empty for the default."
        ) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        hint = "Name a text file that this user may read."
        raise ConfigurationError(f"{setting.name}: {str(path)!r} cannot be read: {reason}", hint=hint) from None
    except ValueError:
        hint = "Save the file as UTF-8 text."
        raise ConfigurationError(f"{setting.name}: {str(path)!r} is not a text file", hint=hint) from None
    lookup.config = parse_config(text, str(path))


def _phase_wins(lookup: Lookup) -> bool:
    """Return whether a phase overrides data sets: one on the command line overrides data sets in the environment, etc."""
    phase, datasets = lookup.find(ATTRIBUTES["phase"]), lookup.find(ATTRIBUTES["datasets"])
    return phase is not None and datasets is not None and phase.rank < datasets.rank


def _read_token(lookup: Lookup, login: Path, *, use_login: bool) -> tuple[Secret | None, tuple[str, ...]]:
    """Return the given token, or else that of the Hub client's login; and warnings.

    A file that contains the token is read only once, since it may be a pipe.
    """
    setting = ATTRIBUTES["hf_token"]
    found = lookup.find(setting)
    if found is not None:
        # With an empty file, a deployment says "no token", so the machine's own login must not be used either.
        return (lookup.parse(setting, found) if found.text else None), ()
    if not use_login:
        return None, ()
    try:
        text = unwrapped(lookup.read_text(login))
        token = parsers.token(text) if text else None
    except (FileNotFoundError, NotADirectoryError):
        return None, ()  # most machines have no login
    except (OSError, ValueError) as error:
        if lookup.find(ATTRIBUTES["hf_token_path"]) is None:
            return None, ()  # the user did not ask for it
        reason = (error.strerror if isinstance(error, OSError) else None) or "it is not text"
        return None, (f"HF_TOKEN_PATH: the Hub client's login in {login} is not used: {reason}.",)
    except parsers.BadTextError as error:
        return None, (f"The Hub client's login in {login} is not used: {error.problem}.",)
    if token is not None:
        lookup.origins[setting.name] = str(login)
    return token, ()


def _unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return a sentence for each variable with our prefix that is not a setting."""
    known = tuple(f"{PREFIX}{setting.name}" for setting in SETTINGS)
    files = {f"{PREFIX}{setting.name}_FILE" for setting in SETTINGS if setting.secret}
    return [
        f"{parsers.shown(name)} is set and is no setting. {parsers.guess(name, known)}".rstrip()
        for name in sorted(environ)
        if name.startswith(PREFIX) and name not in {*known, *files} and not _INJECTED.fullmatch(name)
    ]
