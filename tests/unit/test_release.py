"""What a release hands out: the wheel, the sdist, and the workflow that makes it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from provisioner import __version__
from tests.support.program import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

WORKFLOW: Final = CHECKOUT / ".github" / "workflows" / "release.yml"
NAME: Final = f"data_volume_provisioner-{__version__}"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the sdist and the wheel of this checkout."""
    built = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-t", "wheel", "-d", str(built)]
    ended = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return built


@pytest.mark.xdist_group("packages")
def test_the_wheel_is_the_program(packages: Path, tmp_path: Path) -> None:
    """The wheel plans with its own catalog, and brings what shells and man look for."""
    with zipfile.ZipFile(packages / f"{NAME}-py3-none-any.whl") as wheel:
        wheel.extractall(tmp_path)  # noqa: S202 - it was made above
    shared = tmp_path / f"{NAME}.data" / "data" / "share"
    assert {path.name for path in shared.rglob("*") if path.is_file()} == {
        "provisioner",
        "_provisioner",
        "provisioner.fish",
        "provisioner.1",
    }
    environ = {"PYTHONPATH": str(tmp_path), "PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "provisioner", "plan", "--json", "--data-dir", str(tmp_path / "data")]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, env=environ, cwd=tmp_path)
    assert json.loads(ended.stdout)["phase"] == "minimal"
    assert (tmp_path / "provisioner" / "web" / "assets" / "page.css").exists()


@pytest.mark.xdist_group("packages")
def test_the_sdist_is_complete(packages: Path) -> None:
    """The sdist has what a checkout needs to be tested, and nothing that is not of the checkout."""
    with tarfile.open(packages / f"{NAME}.tar.gz") as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"Dockerfile", "Makefile", "config/catalog.yaml", "requirements/dev.lock", "tests/conftest.py", "LICENSE"} <= names
    assert not [
        name for name in names if name.startswith((".venv", "data/", "dist/", ".git/")) or name.endswith((".pyc", ".env"))
    ]


@pytest.fixture(scope="module")
def workflow() -> dict[str, Any]:
    """Return the workflow of a release."""
    read: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text("utf-8"))
    return read


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the steps of all jobs."""
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_a_release_is_made_for_a_tag_and_with_few_rights(workflow: dict[str, Any]) -> None:
    """Only a tag starts it; no job has a right that it does not need, and each has a time limit and follows the checks."""
    assert workflow["on"] == {"push": {"tags": ["v[0-9]+.[0-9]+.[0-9]+*"]}}
    assert workflow["permissions"] == {}
    assert {name: set(job["permissions"]) for name, job in workflow["jobs"].items()} == {
        "check": {"contents"},
        "packages": {"contents", "id-token", "attestations"},
        "image": {"contents", "packages", "id-token"},
    }
    assert [name for name, job in workflow["jobs"].items() if job["permissions"].get("contents") == "write"] == ["packages"]
    assert all(job["timeout-minutes"] for job in workflow["jobs"].values())
    assert all(job.get("needs") == "check" for name, job in workflow["jobs"].items() if name != "check")


def test_the_image_is_for_two_platforms_signed_and_described(workflow: dict[str, Any]) -> None:
    """Each target of the Dockerfile, for amd64 and arm64, with SBOM and provenance; what is signed is the digest."""
    image = workflow["jobs"]["image"]
    targets = set(re.findall(r"^FROM (?:common|scratch) AS (\w+)$", (CHECKOUT / "Dockerfile").read_text("utf-8"), re.MULTILINE))
    assert {one["target"] for one in image["strategy"]["matrix"]["include"]} == targets
    build = next(step["with"] for step in image["steps"] if "build-push-action" in step.get("uses", ""))
    assert (build["platforms"], build["sbom"], build["provenance"]) == ("linux/amd64,linux/arm64", True, "mode=max")
    arguments = {line.partition("=")[0] for line in build["build-args"].splitlines()}
    declared = set(re.findall(r"^ARG (\w+)", (CHECKOUT / "Dockerfile").read_text("utf-8"), re.MULTILINE))
    assert arguments <= declared
    # BuildKit takes the time of what it makes from the environment.
    assert any("SOURCE_DATE_EPOCH=$(git log" in step.get("run", "") for step in image["steps"])
    sign = next(step for step in image["steps"] if "cosign sign" in step.get("run", ""))
    assert "$DIGEST" in sign["run"]
    assert sign["env"]["DIGEST"] == "${{ steps.build.outputs.digest }}"


def test_every_action_has_a_version(workflow: dict[str, Any]) -> None:
    """No action is taken from a branch, and a checkout leaves no token behind."""
    used = [step for step in steps(workflow) if "uses" in step]
    assert used
    for step in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+(\.\d+)*|[0-9a-f]{40})", step["uses"])
        if step["uses"].startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_make_help_lists_every_described_target() -> None:
    """`make help` lists each target that has a description, whatever characters are in its name."""
    described = re.findall(r"^([^\s:#]+):.*## ", (CHECKOUT / "Makefile").read_text("utf-8"), re.MULTILINE)
    # Not as a part of the make that runs the tests, which would print directories.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    listed = subprocess.run(["make", "help"], cwd=CHECKOUT, env=environ, check=True, capture_output=True, text=True).stdout
    assert "arm64" in described
    assert [line.split()[0] for line in listed.partition("\n\n")[0].splitlines()] == list(dict.fromkeys(described))


def test_scripts_of_the_workflow(workflow: dict[str, Any], tmp_path: Path) -> None:
    """The scripts are right for bash, get what varies through variables, and call targets that the Makefile has."""
    targets = set(re.findall(r"^([a-z0-9-]+):", (CHECKOUT / "Makefile").read_text("utf-8"), re.MULTILINE))
    scripts = [step["run"] for step in steps(workflow) if "run" in step]
    for number, script in enumerate(scripts):
        assert "${{" not in script
        assert set(re.findall(r"\bmake ([a-z0-9-]+)", script)) <= targets
        (tmp_path / f"{number}.sh").write_text(f"#!/usr/bin/env bash\n{script}\n", "utf-8")
    subprocess.run([f"{sys.prefix}/bin/shellcheck", *sorted(tmp_path.glob("*.sh"))], check=True)
