"""What the image is made of, its commands, and its health check."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from provisioner import __version__
from tests.e2e.test_fill import ALL
from tests.e2e.test_handoff import APP
from tests.support.containers import IMAGE, PROGRAM
from tests.support.miniature import NSYNTH_SPLITS
from tests.support.program import CHECKOUT, TOKEN
from tools.reproducible import build, differences

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Filled, Station
    from tests.support.containers import Engine
    from tests.support.hub_server import HubServer

pytestmark = pytest.mark.docker

SLIM: Final = f"{IMAGE}-slim"
BASE: Final = "python:3.13-slim-trixie"
EACH = pytest.mark.parametrize("image", [IMAGE, SLIM], ids=["full", "slim"])
SECOND: Final = 1_000_000_000
OFTEN: Final = {"interval": SECOND // 2, "timeout": 10 * SECOND, "start_period": 60 * SECOND, "retries": 1}
"""The image's own health check, asked more often."""

# --- what it is ------------------------------------------------------------------------------------------------------------


@EACH
def test_configuration(engine: Engine, image: str) -> None:
    """No VOLUME, a user that is not root, the entry point without a shell, a health check, labels, and nothing secret."""
    attributes = engine.client.images.get(image).attrs
    config = attributes["Config"]
    assert not config.get("Volumes")
    assert config["User"] == "1000:0"
    assert config["Entrypoint"] == PROGRAM
    assert not config.get("Cmd")
    assert config["Healthcheck"]["Test"] == ["CMD", *PROGRAM, "healthcheck"]
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    assert (labels["title"], labels["licenses"], labels["version"]) == ("provisioner", "Apache-2.0", __version__)
    assert labels["description"]
    names = {entry.split("=", 1)[0] for entry in config["Env"]}
    assert not names & {"HF_TOKEN", "PYTHONPATH", "VIRTUAL_ENV", "PIP_INDEX_URL", "HTTP_PROXY", "HTTPS_PROXY"}
    everything = json.dumps([attributes, engine.client.images.get(image).history()])
    assert not re.search(r"hf_[A-Za-z0-9]{8,}|HF_TOKEN=|password|index-url|PIP_INDEX|https?://[^/]*@", everything, re.IGNORECASE)


def test_secrets_of_a_checkout_are_in_no_layer(tmp_path: Path) -> None:
    """An image that is built where `.env`, a token and a volume lie about holds none of them, in no layer."""
    checkout = tmp_path / "checkout"
    shutil.copytree(CHECKOUT, checkout, ignore=shutil.ignore_patterns(".git", ".venv*", "__pycache__", ".*_cache", ".hypothesis"))
    for name in (".env", "config/.env", "data/.provisioner/repository.json", "provisioner/.env", ".cache/huggingface/token"):
        place = checkout / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"HF_TOKEN={TOKEN}\n", "utf-8")
    tag = f"{IMAGE}-secrets"
    subprocess.run(
        ["docker", "build", "--quiet", "--network=host", "--tag", tag, "."], cwd=checkout, check=True, capture_output=True
    )
    try:
        with subprocess.Popen(["docker", "save", tag], stdout=subprocess.PIPE) as saved:
            assert saved.stdout is not None
            found, tail, total = {TOKEN.encode(): 0, b"HUGGINGFACE_HUB_CACHE": 0}, b"", 0
            while piece := saved.stdout.read(1 << 24):
                total += len(piece)
                for word in found:
                    found[word] += word in tail + piece
                tail = piece[-64:]
        assert saved.returncode == 0
    finally:
        subprocess.run(["docker", "image", "rm", tag], check=True, capture_output=True)
    # The layers are searched as they are: a word of a library in them is found.
    assert total > 50_000_000
    assert found[b"HUGGINGFACE_HUB_CACHE"] >= 1
    assert found[TOKEN.encode()] == 0


@EACH
def test_nothing_that_builds(engine: Engine, image: str) -> None:
    """Our interpreter has no pip, its libraries fit each other, and neither compiler nor builder's directory is in the image."""
    script = """
    ours=/opt/provisioner
    found() { echo "found: $*" >&2; exit 1; }
    for name in gcc cc g++ make ld git curl; do if command -v "$name"; then found "$name"; fi; done
    for path in /opt/tools /build $ours/bin/pip $ours/app/tests; do if [ -e "$path" ]; then found "$path"; fi; done
    for module in pip setuptools pytest; do if $ours/bin/python -I -c "import $module" 2>&-; then found "$module"; fi; done
    $ours/bin/python -I -c "import huggingface_hub"
    ls -A $ours/app
    """
    ended = engine.shell(script, image=image)
    assert ended.code == 0, ended.out + ended.err
    names = ended.out.split()
    assert set(names) >= {"LICENSE", "config", "entrypoint.py", "provisioner"}
    assert set(names) <= {"LICENSE", "__pycache__", "config", "entrypoint.py", "provisioner"}


def test_libraries_fit_each_other(engine: Engine) -> None:
    """`pip check` finds nothing in the app's environment nor in ours."""
    for python in ("/opt/app/bin/python", "/opt/provisioner/bin/python"):
        ended = engine.shell(f"/opt/app/bin/pip --python {python} check", env={"PIP_NO_CACHE_DIR": "1"})
        assert (ended.code, ended.out.strip()) == (0, "No broken requirements found."), ended.err


@EACH
def test_our_files_are_not_ours_to_change(engine: Engine, image: str) -> None:
    """Nothing but the volume's mount point is writable for the user of the image, directories for temporary files aside."""
    places = "/opt /usr /etc /var /srv /home /root /bin /lib /data"
    not_ours = "! -type l ! -type c ! -path '/*/tmp' ! -path '/*/lock'"
    found = engine.shell(f"find {places} -xdev -writable {not_ours} -print 2>&- || true", image=image)
    assert found.out.split() == ["/data"]
    # What the base has is as it was, but for the entry of the user.
    facts = "stat -c '%n %a %u:%g' / /etc /etc/passwd /etc/shadow /opt /usr /usr/local /usr/local/bin"
    ours, theirs = (engine.shell(facts, image=one, user="0").out for one in (image, BASE))
    assert ours == theirs


def test_app_has_datasets(engine: Engine, filled: Filled) -> None:
    """The app's `python` imports `datasets` and opens a table offline; ours does not have it, and the slim image neither."""
    script = (
        "import datasets; datasets.disable_progress_bars(); from csv import QUOTE_NONE;"
        "t = datasets.load_dataset('csv', data_files='/data/datasets/ljspeech/LJSpeech-1.1/metadata.csv', delimiter='|',"
        " quoting=QUOTE_NONE, header=None, split='train'); print(t.num_rows)"
    )
    command = f'HF_HUB_OFFLINE=1 HF_HOME=$HOME/huggingface exec python -c "{script}"'
    opened = engine.shell(command, volume=filled.volume, read_only_volume=True)
    lines = engine.shell("wc -l <ljspeech/LJSpeech-1.1/metadata.csv", volume=filled.volume, working_dir="/data/datasets")
    assert (opened.code, opened.out.strip()) == (0, lines.out.strip()), opened.err
    assert engine.shell("/opt/provisioner/bin/python -I -c 'import datasets'").code == 1
    assert engine.shell("! command -v pip && ! python3 -c 'import datasets'", image=SLIM).code == 0


LOADER: Final = """
import soundfile, sys; from datasets import Audio, disable_progress_bars, load_dataset; disable_progress_bars()
try:
    import provisioner
except ImportError:
    pass
else:
    sys.exit("ours is here")
for name in ("ljspeech", "nsynth"):
    for split, rows in load_dataset(f"/data/index/{name}").items():
        sounds = [soundfile.read(one["path"]) for one in rows.cast_column("audio", Audio(decode=False))["audio"]]
        print(name, split, rows.features["audio"].sampling_rate, len(rows), sum(len(samples) for samples, _ in sounds))
"""


def test_indexes_load(engine: Engine, filled: Filled) -> None:
    """An environment without ours, as a user who owns nothing, from a read-only mount and without a network; audio is decoded."""
    command = f"HF_HUB_OFFLINE=1 HF_HOME=$HOME/huggingface exec python -I -c '{LOADER}'"
    ended = engine.shell(command, volume=filled.volume, read_only_volume=True, user="4711:4711", network_mode="none")
    assert ended.code == 0, ended.err
    found = [f"nsynth {split} 16000 {count} {count * samples}" for split, count, samples in NSYNTH_SPLITS]
    assert sorted(ended.out.splitlines()) == sorted([f"ljspeech train 22050 24 {24 * 22050}", *found])


def test_slim_image_fills_a_volume(station: Station, hub: HubServer, filled: Filled) -> None:
    """The slim image provisions as the other does, indexes included."""
    volume = station.engine.volume()
    assert station.engine.run(volume=volume, image=SLIM, env={"PHASE": "minimal"}).code == 0
    assert hub.log.entries(origin="cdn")
    names = ("fma_small", "ljspeech", "nsynth", "urmp")
    station.check(volume, *names)
    lines = f"cd /data/index && sha256sum $(find {' '.join(names)} -name '*.jsonl' | sort)"
    mine, theirs = (station.engine.shell(lines, volume=each).out for each in (volume, filled.volume))
    assert mine == theirs
    assert len(mine.splitlines()) > len(names)


def test_sizes(engine: Engine) -> None:
    """The images add at most 38 and 357 MB to their base, with which they were 154 and 473 MB."""
    full, slim, base = (engine.client.images.get(image).attrs["Size"] for image in (IMAGE, SLIM, BASE))
    assert slim - base <= 38_000_000
    assert full - base <= 357_000_000


EVERYTHING: Final = """
import importlib, os, pkgutil, sys
import provisioner, filelock, hf_xet, huggingface_hub, inflate64, isal.igzip, backports.zstd, urllib3, yaml
import prometheus_client, starlette.applications, starlette.responses, uvicorn.lifespan.off, uvicorn.protocols.http.h11_impl
for module in pkgutil.walk_packages(provisioner.__path__, "provisioner."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
huggingface_hub.HfApi()
for module in list(sys.modules.values()):
    cached = getattr(module, "__cached__", None)
    if cached and cached.startswith("/opt/") and not os.path.exists(cached):
        print(cached)
print("looked at", len(sys.modules))
"""


def test_what_is_imported_has_bytecode(engine: Engine) -> None:
    """Nothing that the program imports is compiled at each start: only parts that it never imports have no bytecode."""
    ended = engine.run("-I", "-c", EVERYTHING, image=SLIM, entrypoint=["/opt/provisioner/bin/python"])
    assert ended.code == 0, ended.err
    (line,) = ended.out.splitlines()
    assert int(line.rpartition(" ")[2]) > 400


def canonical(package: str) -> str:
    """Return ``NAME==VERSION`` with the name as indexes of packages write it."""
    name, _, version = package.partition("==")
    return f"{canonicalize_name(name)}=={version}"


def locked(name: str) -> set[str]:
    """Return the packages of a lock for the image's Python on this machine."""
    text = (CHECKOUT / "requirements" / name).read_text("utf-8")
    found = [Requirement(line.rstrip(" \\")) for line in text.splitlines() if re.match(r"\w", line)]
    python = {"python_version": "3.13", "python_full_version": "3.13.0"}
    return {f"{one.name}{one.specifier}" for one in found if one.marker is None or one.marker.evaluate(python)}


@pytest.mark.parametrize(
    ("python", "lock"), [("/opt/provisioner/bin/python", "runtime.lock"), ("/opt/app/bin/python", "app.lock")]
)
def test_what_is_installed_is_what_is_locked(engine: Engine, python: str, lock: str) -> None:
    """The records of packages, from which a scanner makes the SBOM, are those of the lock; the app has pip beside them."""
    script = "import importlib.metadata as m; print(*(f'{one.name}=={one.version}' for one in m.distributions()), sep='\\n')"
    listed = engine.shell(f'{python} -I -c "{script}"').out.split()
    found, wanted = ({canonical(one) for one in packages} for packages in (listed, locked(lock)))
    assert wanted <= found
    assert {one.partition("==")[0] for one in found - wanted} == ({"pip"} if lock == "app.lock" else set())


@EACH
def test_no_package_of_the_system_is_added(engine: Engine, image: str) -> None:
    """What dpkg lists is what it lists in the base image."""
    lists = [engine.shell("dpkg-query --show", image=one).out for one in (image, BASE)]
    assert lists[0]
    assert lists[0] == lists[1]


def test_another_build_has_the_same_digest(engine: Engine) -> None:
    """The slim image, built again without any cache, has the same content in every layer, and the same configuration."""
    image = engine.client.images.get(SLIM)
    epoch = int(datetime.fromisoformat(image.attrs["Created"]).timestamp())
    arguments = {"COMMIT": image.labels["org.opencontainers.image.revision"]}
    again = build("slim", epoch, arguments)
    try:
        assert again == image.id, differences(str(image.id), again)[:20]
    finally:
        if again != image.id:
            engine.client.images.remove(again)


# --- its commands ----------------------------------------------------------------------------------------------------------


def test_help(engine: Engine) -> None:
    """`--help` names every command and setting, without a volume and without a network."""
    ended = engine.run("--help", network_mode="none", read_only=True)
    assert (ended.code, ended.err) == (0, "")
    for word in ("provision", "plan", "status", "list", "catalog", "PHASE", "HF_TOKEN", "MAX_STORAGE_GB", "LOCK_TIMEOUT"):
        assert word in ended.out


def test_version(engine: Engine) -> None:
    """`--version` is the package's and the label's, and names the commit that the image's label names."""
    shown = engine.run("--version", network_mode="none").out.strip()
    assert shown.split(" ")[0] == __version__
    revision = engine.client.images.get(IMAGE).labels["org.opencontainers.image.revision"]
    assert (f"commit {revision}" in shown) is bool(revision)


def test_plan(engine: Engine, hub: HubServer) -> None:
    """`plan --json` on an empty volume names all eight data sets with their sizes; nobody is asked, nothing is written."""
    ended = engine.run("plan", "--json", volume=engine.volume(), read_only_volume=True)
    assert ended.code == 0
    assert {step["dataset"] for step in ended.json["steps"]} == set(ALL)
    assert not hub.log.entries()


def test_plan_of_the_real_catalog(engine: Engine) -> None:
    """The image carries the real catalog: its plan is printed without any network."""
    settings = {"CATALOG_PATH": "", "HF_ENDPOINT": "", "URL_REWRITE": "", "HF_TOKEN": ""}
    ended = engine.run("plan", env=settings, network_mode="none", read_only=True)
    assert ended.code == 0
    for name in ALL:
        assert name in ended.out


def test_status_and_list(engine: Engine, filled: Filled, hub: HubServer) -> None:
    """`status` and `list` tell what the volume holds, as text and as JSON, also on a volume mounted read-only."""
    seen = {"volume": filled.volume, "read_only_volume": True}
    status = engine.run("status", "--json", **seen)
    assert status.code == 0
    assert status.json["state"] == "ready"
    assert set(status.json["datasets"]) == set(ALL)
    assert engine.run("status", "--check", **seen).code == 0
    for command in ("status", "list"):
        text = engine.run(command, **seen)
        assert text.code == 0
        assert all(name in text.out for name in ALL)
    assert engine.run("list", "--json", **seen).json
    assert not hub.log.entries()


def test_status_of_an_empty_volume(engine: Engine) -> None:
    """`status` of a volume that holds nothing says so: 66."""
    assert (
        engine.run("status", volume=engine.volume(), expect=["nothing is known of a run on this volume", "ERROR [A-Z]"]).code
        == 66
    )


def test_catalog_check(engine: Engine) -> None:
    """`catalog check` reads the catalog that is mounted; a broken one gives 78 with file and line."""
    assert "8 data sets" in engine.run("catalog", "check", network_mode="none").out
    script = "printf 'version: 1\\ndatasetz: {}\\n' >$HOME/c.yaml; CATALOG_PATH=$HOME/c.yaml exec provisioner catalog check"
    ended = engine.shell(script)
    assert ended.code == 78
    assert "/c.yaml:2" in ended.err
    assert "datasets" in ended.err


# --- its health ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("init", [False, True], ids=["process 1", "under an init"])
def test_healthy_while_it_works_and_afterwards(engine: Engine, hub: HubServer, init: bool) -> None:
    """The container is healthy while a run works, and after the hand-off, whatever the status file says by then."""
    rule = hub.faults.add("gate", path="*/nsynth-test*", first=1)
    one = {"DATASETS": "nsynth:test"}
    app = ("python", "/srv/app.py", "--serve")
    box = engine.start(*app, volume=engine.volume(), mounts={APP: "/srv"}, env=one, healthcheck=OFTEN, init=init)
    assert hub.faults.gate(rule.gate).wait_reached()
    engine.wait_health(box, "healthy")
    assert box.status()["state"] == "provisioning"
    hub.faults.gate(rule.gate).release()
    box.wait_line("serving until SIGTERM")
    assert box.call("rm", "/data/dataset_status.json").code == 0
    health = box.call(*PROGRAM, "healthcheck")
    assert (health.code, health.err) == (0, "")
    ended, _ = box.stop()
    assert ended.code == 0


def test_unhealthy_when_it_gives_no_sign_of_life(engine: Engine, hub: HubServer) -> None:
    """A run whose heartbeat is older than a minute is unhealthy; one that goes on is healthy again."""
    rule = hub.faults.add("gate", path="*/nsynth-test*", first=1)
    volume = engine.volume()
    box = engine.start(volume=volume, env={"DATASETS": "nsynth:test"}, healthcheck=OFTEN)
    assert hub.faults.gate(rule.gate).wait_reached()
    engine.wait_health(box, "healthy")
    box.kill("SIGSTOP")  # so that nobody but us writes its heartbeat
    status: dict[str, Any] = box.status() | {"updated_at": "2020-01-01T00:00:00Z"}
    stale = box.call("sh", "-c", f"printf %s '{json.dumps(status)}' >/data/dataset_status.json")
    assert stale.code == 0, stale.err
    engine.wait_health(box, "unhealthy")
    assert box.call(*PROGRAM, "healthcheck").code != 0
    box.kill("SIGCONT")
    hub.faults.gate(rule.gate).release()
    assert box.wait().code == 0
    assert TOKEN not in json.dumps(box.docker.attrs["State"])
