"""The disk helpers on a real file system: whole or not at all, nothing followed, and failures said in our words."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from provisioner.errors import ProvisionerError, VolumeError, VolumeFullError, VolumeNotWritableError
from provisioner.volume.fs import durable
from provisioner.volume.fs.atomic import write_atomic
from provisioner.volume.fs.directories import make_directory
from provisioner.volume.fs.durable import fsync_directory, sync_tree
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.files import write_all
from provisioner.volume.fs.links import link_or_copy
from provisioner.volume.fs.remove import remove_tree
from provisioner.volume.fs.space import free_bytes, is_same_filesystem, used_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STRANGER = 54321
"""A user that is not root: root is refused nothing, so refusals can only be seen as somebody else."""


@pytest.fixture
def umask() -> Iterator[None]:
    """Set a umask that would take everything from the group."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.fixture
def strangers_home() -> Iterator[Path]:
    """Return a directory that belongs to :data:`STRANGER`, or to us where we are no root."""
    home = Path(tempfile.mkdtemp())
    if os.geteuid() == 0:
        os.chown(home, STRANGER, 0)
    yield home
    subprocess.run(["chmod", "-R", "u+rwX", str(home)], check=True)
    shutil.rmtree(home)


def as_stranger(action: Callable[[], object]) -> str:
    """Run ``action`` in a child that is not root; give what error of ours it raised, or an empty text."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        answer = "something else"
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(0)
                os.setuid(STRANGER)
            action()
            answer = ""
        except ProvisionerError as error:
            answer = f"{type(error).__name__}: {error.message}"
        except BaseException as error:  # noqa: BLE001 - it is told to the parent
            answer = repr(error)
        finally:
            os.write(writer, answer.encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return answer


def mode_of(path: Path) -> int:
    """Return the permission bits."""
    return stat.S_IMODE(path.lstat().st_mode)


# --- write_atomic -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_written_whole(tmp_path: Path, *, durable: bool) -> None:
    """Its bytes, its mode whatever the umask, and nothing beside it."""
    path = tmp_path / ("n" * 255)
    write_atomic(path, b"old")
    write_atomic(path, b"new" * 1000, durable=durable)
    assert path.read_bytes() == b"new" * 1000
    assert mode_of(path) == 0o664
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_written_in_pieces(tmp_path: Path) -> None:
    """Small and large ones, in their order, and never all at once in memory."""
    path = tmp_path / "manifest"
    write_atomic(path, (bytes([number % 256]) * (number % 3 * 50_000 + 1) for number in range(200)))
    assert path.read_bytes() == b"".join(bytes([number % 256]) * (number % 3 * 50_000 + 1) for number in range(200))


def test_pieces_that_fail_leave_the_old_file(tmp_path: Path) -> None:
    """Whatever ends the making of the pieces; nothing is left beside it."""

    def pieces() -> Iterator[bytes]:
        yield bytes(100_000)
        raise KeyboardInterrupt

    path = tmp_path / "manifest"
    write_atomic(path, b"old")
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, pieces())
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    """What it pointed to stays as it is."""
    (tmp_path / "other").write_bytes(b"precious")
    (tmp_path / "status").symlink_to("other")
    write_atomic(tmp_path / "status", b"new")
    assert not (tmp_path / "status").is_symlink()
    assert (tmp_path / "other").read_bytes() == b"precious"


@pytest.mark.parametrize("data", [bytes(5000), [bytes(10)] * 500, [bytes(10)] * 50_000], ids=["whole", "few", "many"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, data: bytes | list[bytes]) -> None:
    """The disk stops in the middle (here by the limit on a file's size): the old bytes are there, no rest is."""
    path = tmp_path / "status"
    write_atomic(path, b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(VolumeError, match="status") as caught:
            write_atomic(path, data)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "FAT" in caught.value.hint
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_readers_never_see_a_mixture(tmp_path: Path) -> None:
    """While one thread replaces the file again and again, another always reads one of the two."""
    path = tmp_path / "status"
    versions = [b"a" * 100_000, b"b" * 50_000]
    write_atomic(path, versions[0], durable=False)
    done = threading.Event()

    def write() -> None:
        for turn in range(300):
            write_atomic(path, versions[turn % 2], durable=False)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = {path.read_bytes()}
    while not done.is_set():
        seen.add(path.read_bytes())
    writer.join()
    assert seen <= set(versions)


def test_who_may_not_write_is_told_who_he_is(strangers_home: Path) -> None:
    """A read-only directory is an error of its own, with the uid in it, and no temporary file stays."""
    strangers_home.chmod(0o555)
    answer = as_stranger(lambda: write_atomic(strangers_home / "status", b"x"))
    assert answer.startswith("VolumeNotWritableError: ")
    assert "status" in answer
    assert "uid" in answer


# --- directories and modes --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("umask")
def test_folders_are_made_for_the_group(tmp_path: Path) -> None:
    """All that are missing, with our mode; those that are there keep theirs."""
    tmp_path.chmod(0o2700)
    make_directory(tmp_path / "a" / "b")
    make_directory(tmp_path / "a" / "b")
    assert (mode_of(tmp_path), mode_of(tmp_path / "a"), mode_of(tmp_path / "a" / "b")) == (0o2700, 0o2775, 0o2775)


def test_a_file_in_the_way_of_a_folder_is_an_error(tmp_path: Path) -> None:
    """It is not ours to remove."""
    (tmp_path / "a").touch()
    for path in (tmp_path / "a", tmp_path / "a" / "b"):
        with pytest.raises(VolumeError, match="making the directory"):
            make_directory(path)


# --- remove_tree --------------------------------------------------------------------------------------------------------


def test_removing_never_leaves_the_tree(tmp_path: Path) -> None:
    """Links to files and directories outside go; what they point to stays. So does a link that is the tree itself."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "b" / "\udcff\n").touch()
    (tree / "a" / "up").symlink_to(outside)
    (tree / "a" / "file").symlink_to(outside / "precious")
    (tmp_path / "link").symlink_to(outside)
    os.mkfifo(tree / "fifo")
    remove_tree(tree)
    remove_tree(tmp_path / "link")
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]
    assert [path.name for path in outside.iterdir()] == ["precious"]


def test_removing_what_is_not_there_is_nothing(tmp_path: Path) -> None:
    """Neither the name nor the directory above it need exist; a plain file goes too."""
    remove_tree(tmp_path / "no")
    remove_tree(tmp_path / "no" / "no")
    (tmp_path / "file").touch()
    remove_tree(tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_folders_that_forbid_it_are_made_writable(strangers_home: Path) -> None:
    """Its owner may change that, and does."""
    tree = strangers_home / "tree"
    for folder in ("closed", "read-only/inner", "listed"):
        (tree / folder).mkdir(parents=True)
        (tree / folder / "file").touch()
    for folder, mode in (("closed", 0o000), ("read-only/inner", 0o500), ("read-only", 0o500), ("listed", 0o400), (".", 0o500)):
        (tree / folder).chmod(mode)
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", str(STRANGER), str(tree)], check=True)
    assert as_stranger(lambda: remove_tree(tree)) == ""
    assert not tree.exists()


def test_a_tree_deeper_than_pythons_stack_is_removed(tmp_path: Path) -> None:
    """Somebody else may have left it; it is one descriptor a level and no recursion."""
    depth = 1200
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(before[0], depth + 200), before[1]), before[1]))
    top = tmp_path / "d"
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(depth):
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
    finally:
        os.close(here)
    try:
        remove_tree(top)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert not top.exists()


def test_two_may_remove_the_same_tree(tmp_path: Path) -> None:
    """What the other has removed meanwhile counts as done."""
    tree = tmp_path / "tree"
    for folder in range(20):
        (tree / str(folder)).mkdir(parents=True)
        for file in range(50):
            (tree / str(folder) / str(file)).touch()
    failures: list[BaseException] = []

    def remove() -> None:
        try:
            remove_tree(tree)
        except BaseException as error:  # noqa: BLE001 - it is looked at below
            failures.append(error)

    threads = [threading.Thread(target=remove) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert not tree.exists()


# --- links and copies ---------------------------------------------------------------------------------------------------


def test_a_hard_link_takes_no_room(tmp_path: Path) -> None:
    """On one file system the two names are one file."""
    (tmp_path / "a").write_bytes(bytes(100_000))
    used = used_bytes(tmp_path)
    assert link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a").samefile(tmp_path / "b")
    assert used_bytes(tmp_path) == used


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """Return a directory on another file system than ``tmp_path``: Linux has one in memory."""
    candidates = [Path("/dev/shm"), Path("/tmp"), Path.cwd()]  # noqa: S108 - any other file system will do
    other = next(place for place in candidates if place.is_dir() and place.stat().st_dev != tmp_path.stat().st_dev)
    folder = Path(tempfile.mkdtemp(dir=other))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.usefixtures("umask")
def test_across_file_systems_it_is_a_copy(tmp_path: Path, elsewhere: Path) -> None:
    """With content, time and whether it may be executed; a link is made again with its text."""
    source = tmp_path / "a"
    source.write_bytes(os.urandom(3_000_000))
    source.chmod(0o700)
    os.utime(source, ns=(10**18, 10**18))
    (tmp_path / "link").symlink_to("nowhere")
    assert not is_same_filesystem(tmp_path / "not" / "there", elsewhere)
    assert not link_or_copy(source, elsewhere / "b")
    assert not link_or_copy(tmp_path / "link", elsewhere / "link")
    copy = elsewhere / "b"
    assert copy.read_bytes() == source.read_bytes()
    assert (mode_of(copy), copy.stat().st_mtime_ns) == (0o775, 10**18)
    assert str((elsewhere / "link").readlink()) == "nowhere"


def test_what_is_there_is_not_replaced(tmp_path: Path, elsewhere: Path) -> None:
    """Neither by a link nor by a copy."""
    (tmp_path / "a").write_bytes(b"new")
    for target in (tmp_path / "b", elsewhere / "b"):
        target.write_bytes(b"old")
        with pytest.raises(VolumeError, match="exists"):
            link_or_copy(tmp_path / "a", target)
        assert target.read_bytes() == b"old"


# --- asking -------------------------------------------------------------------------------------------------------------


def test_used_bytes_agree_with_du(tmp_path: Path) -> None:
    """Blocks and not lengths: a hole takes nothing, a second name takes nothing, a link is not followed."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(os.urandom(123_456))
    with (tmp_path / "hole").open("wb") as file:
        file.truncate(50_000_000)
    os.link(tmp_path / "folder" / "file", tmp_path / "again")
    (tmp_path / "link").symlink_to("/usr")
    os.sync()
    found = subprocess.run(["du", "-s", "-B1", str(tmp_path)], capture_output=True, check=True).stdout.split()[0]
    assert used_bytes(tmp_path) == int(found)
    assert used_bytes(tmp_path / "no") == 0
    assert used_bytes(tmp_path / "folder" / "file") >= 123_456


def test_free_bytes_of_what_does_not_exist_yet(tmp_path: Path) -> None:
    """The nearest directory that is there answers for it."""
    facts = os.statvfs(tmp_path)
    free = free_bytes(tmp_path / "not" / "yet")
    assert abs(free - facts.f_bavail * facts.f_frsize) < 1 << 30
    assert is_same_filesystem(tmp_path, tmp_path / "not" / "yet")


# --- syncing ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a tree with all kinds of names in it."""
    root = tmp_path / "tree"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "file").write_bytes(b"x")
    (root / "a" / "link").symlink_to("/nowhere")
    os.mkfifo(root / "fifo")
    return root


def test_a_tree_can_be_synced(tree: Path) -> None:
    """By one call on Linux; a tree that is not there is an error."""
    sync_tree(tree)
    fsync_directory(tree)
    with pytest.raises(VolumeError, match="making durable"):
        sync_tree(tree / "no")
    with pytest.raises(VolumeError, match="making durable"):
        fsync_directory(tree / "no")


def test_without_syncfs_every_file_and_folder_is_synced(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deepest directories first, the root last; links and FIFOs neither followed nor waited for."""
    synced: list[str] = []

    def record(handle: int) -> None:
        synced.append(os.path.relpath(Path(f"/proc/self/fd/{handle}").readlink(), tree))

    monkeypatch.setattr(durable, "_syncfs", lambda _path: False)
    monkeypatch.setattr(os, "fsync", record)
    sync_tree(tree)
    assert synced == ["a/b/file", "a/b", "a", "."]


# --- errors -------------------------------------------------------------------------------------------------------------


def test_a_full_device_says_needed_and_free(tmp_path: Path) -> None:
    """The kernel's own "no space" becomes ours, with both numbers and what to do."""
    handle = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(VolumeFullError) as caught, disk_errors("unpacking x", tmp_path, needed=12345):
            write_all(handle, b"x")
    finally:
        os.close(handle)
    message = caught.value.message
    assert message.startswith(f"unpacking x ({tmp_path}): No space left on device (needs 12345 bytes, ")
    assert "bytes are free" in message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, VolumeFullError),
        (errno.EDQUOT, VolumeFullError),
        (errno.EACCES, VolumeNotWritableError),
        (errno.EPERM, VolumeNotWritableError),
        (errno.EROFS, VolumeNotWritableError),
        (errno.EIO, VolumeError),
        (errno.ENAMETOOLONG, VolumeError),
        (errno.ELOOP, VolumeError),
    ],
)
def test_each_errno_has_its_error(number: int, kind: type[ProvisionerError], tmp_path: Path) -> None:
    """And each message says what was done, where, and what the system said."""
    with pytest.raises(ProvisionerError) as caught, disk_errors("writing", tmp_path):
        raise OSError(number, os.strerror(number))
    assert type(caught.value) is kind
    assert str(tmp_path) in caught.value.message
    assert os.strerror(number) in caught.value.message


def test_an_error_of_ours_passes_unchanged() -> None:
    """What is inside knew better."""
    with pytest.raises(VolumeFullError, match="inner"), disk_errors("outer"):
        raise VolumeFullError("inner")


def test_names_are_utf8_whatever_the_locale(tmp_path: Path) -> None:
    """Under a Latin-1 locale too, the bytes of a name on the disk are those of the manifest."""
    program = (
        "import os, sys; from provisioner.volume.fs.paths import from_native, to_native;"
        "name = to_native('\\u00fc\\udcff');"
        f"os.chdir({str(tmp_path)!r}); open(name, 'w').close();"
        "assert [from_native(found) for found in os.listdir()] == ['\\u00fc\\udcff']"
    )
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert [os.fsencode(path.name) for path in tmp_path.iterdir()] == [b"\xc3\xbc\xff"]
