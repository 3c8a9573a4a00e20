"""How ``make provision`` hands a shell's settings to a container."""

from __future__ import annotations

from pathlib import Path

from tools.containerized import command


def words(environ: dict[str, str], *arguments: str) -> list[str]:
    """Return the command line for an environment."""
    return command("image", Path("/somewhere/data"), arguments, environ)[0]


def changed(environ: dict[str, str]) -> dict[str, str]:
    """Return the settings that the container gets with other values."""
    return command("image", Path("/somewhere/data"), (), environ)[1]


def test_values_stay_off_the_command_line() -> None:
    """Settings are handed on by name: other users of the machine see no token."""
    line = words({"HF_TOKEN": "hf_secret", "PHASE": "balanced", "PROVISIONER_DEADLINE": "6h", "HOME": "/root", "EDITOR": "vi"})
    assert "hf_secret" not in " ".join(line)
    assert [line[i + 1] for i, word in enumerate(line) if word == "--env"] == ["PHASE", "HF_TOKEN", "PROVISIONER_DEADLINE"]


def test_files_are_mounted() -> None:
    """A file that a setting names is there inside, read-only, under a name of its own."""
    environ = {"HF_TOKEN_FILE": "/secrets/token", "SSL_CERT_FILE": "/ca.pem"}
    assert "/secrets/token:/run/host/HF_TOKEN_FILE:ro" in words(environ)
    assert changed(environ) == {"HF_TOKEN_FILE": "/run/host/HF_TOKEN_FILE", "SSL_CERT_FILE": "/run/host/SSL_CERT_FILE"}


def test_folders_of_this_machine_stay_here() -> None:
    """The volume is what was named, and the image has directories of its own for the rest."""
    line = words({"DATA_DIR": "/elsewhere", "HF_HOME": "/root/.cache", "STAGING_DIR": "/var/x"}, "--phase", "minimal")
    assert "--env" not in line
    assert "/somewhere/data:/data" in line
    assert line[-3:] == ["image", "--phase", "minimal"]


def test_each_catalog_is_mounted() -> None:
    """Several catalogs are mounted each under a name of its own; the empty path stays that of the image's catalog."""
    environ = {"CATALOG_PATH": ":/srv/site.yaml:/srv/ours.yaml"}
    assert "/srv/site.yaml:/run/host/CATALOG_PATH1:ro" in words(environ)
    assert changed(environ) == {"CATALOG_PATH": ":/run/host/CATALOG_PATH1:/run/host/CATALOG_PATH2"}


def test_pins_and_directories_are_mounted() -> None:
    """Pins, directories to search and peers are there inside too; a peer's address stays as it is, and off the command line."""
    address = "https://user:secret@peer.example"
    environ = {"PINS": "/srv/pins.yaml", "SEARCH_DIRS": "/a:/b", "PROVISIONER_PEERS": f"/mnt/usb;{address}"}
    line = words(environ)
    for mount in ("/srv/pins.yaml:/run/host/PINS", "/b:/run/host/SEARCH_DIRS1", "/mnt/usb:/run/host/PROVISIONER_PEERS"):
        assert f"{mount}:ro" in line
    assert changed(environ) == {
        "PINS": "/run/host/PINS",
        "SEARCH_DIRS": "/run/host/SEARCH_DIRS:/run/host/SEARCH_DIRS1",
        "PROVISIONER_PEERS": f"/run/host/PROVISIONER_PEERS;{address}",
    }
    assert "secret" not in " ".join(line)
