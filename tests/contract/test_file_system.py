"""Operations on a real file system: a file is written whole or not at all, links are not followed, and errors say what helps."""

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
from provisioner.volume.fs.durable import WriteWatch, fsync_directory, sync_tree, syncing_meanwhile
from provisioner.volume.fs.errors import disk_error, disk_errors
from provisioner.volume.fs.files import write_all
from provisioner.volume.fs.free_space import free_bytes
from provisioner.volume.fs.links import link_or_copy, share_or_copy
from provisioner.volume.fs.remove import remove_tree
from provisioner.volume.fs.tree_size import is_same_filesystem, used_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STRANGER = 54321
"""The uid of a user that is not root; root is never refused anything."""


@pytest.fixture
def umask() -> Iterator[None]:
    """Set a umask that would take everything from the group."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.fixture
def strangers_home() -> Iterator[Path]:
    """Return a directory of :data:`STRANGER`, or of the current user where that is not root."""
    home = Path(tempfile.mkdtemp())
    if os.geteuid() == 0:
        os.chown(home, STRANGER, 0)
    yield home
    subprocess.run(["chmod", "-R", "u+rwX", str(home)], check=True)
    shutil.rmtree(home)


def as_stranger(action: Callable[[], object]) -> str:
    """Run ``action`` in a child process that is not root; return the program's error that it raised, or an empty text."""
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
        except BaseException as error:  # noqa: BLE001 - reported to the parent
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
    """It has its bytes and its mode, whatever the umask, and no temporary file stays beside it."""
    path = tmp_path / ("n" * 255)
    write_atomic(path, b"old")
    write_atomic(path, b"new" * 1000, durable=durable)
    assert path.read_bytes() == b"new" * 1000
    assert mode_of(path) == 0o664
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_written_in_parts(tmp_path: Path) -> None:
    """Small and large parts are written in their order."""
    path = tmp_path / "manifest"
    write_atomic(path, (bytes([number % 256]) * (number % 3 * 50_000 + 1) for number in range(200)))
    assert path.read_bytes() == b"".join(bytes([number % 256]) * (number % 3 * 50_000 + 1) for number in range(200))


def test_parts_that_fail_leave_the_old_file(tmp_path: Path) -> None:
    """An exception while the parts are made leaves the old file, and no temporary file."""

    def parts() -> Iterator[bytes]:
        yield bytes(100_000)
        raise KeyboardInterrupt

    path = tmp_path / "manifest"
    write_atomic(path, b"old")
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, parts())
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    """The file that the link pointed to is not changed."""
    (tmp_path / "other").write_bytes(b"precious")
    (tmp_path / "status").symlink_to("other")
    write_atomic(tmp_path / "status", b"new")
    assert not (tmp_path / "status").is_symlink()
    assert (tmp_path / "other").read_bytes() == b"precious"


@pytest.mark.parametrize("data", [bytes(5000), [bytes(10)] * 500, [bytes(10)] * 50_000], ids=["whole", "few", "many"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, data: bytes | list[bytes]) -> None:
    """If the disk refuses in the middle (here by a limit on file sizes), the old bytes stay and no temporary file does."""
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
    """While one thread replaces a file again and again, another always reads one of the two versions."""
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


def test_a_refused_write_names_the_user(strangers_home: Path) -> None:
    """A directory that is not writable is an error that names the uid."""
    strangers_home.chmod(0o555)
    answer = as_stranger(lambda: write_atomic(strangers_home / "status", b"x"))
    assert answer.startswith("VolumeNotWritableError: ")
    assert "status" in answer
    assert "uid" in answer


# --- directories and modes --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("umask")
def test_directories_are_made_writable_for_the_group(tmp_path: Path) -> None:
    """Missing directories get mode 0775, whatever the umask; existing ones keep their mode."""
    tmp_path.chmod(0o2700)
    make_directory(tmp_path / "a" / "b")
    make_directory(tmp_path / "a" / "b")
    assert (mode_of(tmp_path), mode_of(tmp_path / "a"), mode_of(tmp_path / "a" / "b")) == (0o2700, 0o2775, 0o2775)


def test_a_file_in_the_way_of_a_directory_is_an_error(tmp_path: Path) -> None:
    """The file is not removed."""
    (tmp_path / "a").touch()
    for path in (tmp_path / "a", tmp_path / "a" / "b"):
        with pytest.raises(VolumeError, match="making the directory"):
            make_directory(path)


# --- remove_tree --------------------------------------------------------------------------------------------------------


def test_removing_never_leaves_the_tree(tmp_path: Path) -> None:
    """Links are removed, also one in place of the tree itself; what they point to stays."""
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


def test_removing_what_does_not_exist_is_no_error(tmp_path: Path) -> None:
    """Neither the name nor its directory need exist; a plain file is removed too."""
    remove_tree(tmp_path / "no")
    remove_tree(tmp_path / "no" / "no")
    (tmp_path / "file").touch()
    remove_tree(tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_directories_that_are_not_writable_are_removed(strangers_home: Path) -> None:
    """Their owner makes them writable first."""
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
    """Removing does not recurse; it needs one open descriptor for each level."""
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


def test_several_threads_may_remove_the_same_tree(tmp_path: Path) -> None:
    """What another one has removed meanwhile counts as removed."""
    tree = tmp_path / "tree"
    for folder in range(20):
        (tree / str(folder)).mkdir(parents=True)
        for file in range(50):
            (tree / str(folder) / str(file)).touch()
    failures: list[BaseException] = []

    def remove() -> None:
        try:
            remove_tree(tree)
        except BaseException as error:  # noqa: BLE001 - compared below
            failures.append(error)

    threads = [threading.Thread(target=remove) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert not tree.exists()


# --- links and copies ---------------------------------------------------------------------------------------------------


def at(path: Path) -> tuple[str, None]:
    """Return a path as a name in no open directory."""
    return str(path), None


def test_a_hard_link_takes_no_space(tmp_path: Path) -> None:
    """On one file system both names are the same file."""
    (tmp_path / "a").write_bytes(bytes(100_000))
    used = used_bytes(tmp_path)
    assert link_or_copy(at(tmp_path / "a"), at(tmp_path / "b"))
    assert (tmp_path / "a").samefile(tmp_path / "b")
    assert used_bytes(tmp_path) == used


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """Return a directory on another file system than ``tmp_path``, such as the one that Linux has in memory."""
    candidates = [Path("/dev/shm"), Path("/tmp"), Path.cwd()]  # noqa: S108 - any other file system will do
    other = next(place for place in candidates if place.is_dir() and place.stat().st_dev != tmp_path.stat().st_dev)
    folder = Path(tempfile.mkdtemp(dir=other))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.usefixtures("umask")
def test_across_file_systems_it_is_a_copy(tmp_path: Path, elsewhere: Path) -> None:
    """The copy has the content, the time and the executable bit; a symbolic link is copied as a link."""
    source = tmp_path / "a"
    source.write_bytes(os.urandom(3_000_000))
    source.chmod(0o700)
    os.utime(source, ns=(10**18, 10**18))
    (tmp_path / "link").symlink_to("nowhere")
    assert not is_same_filesystem(tmp_path / "not" / "there", elsewhere)
    assert not link_or_copy(at(source), at(elsewhere / "b"))
    assert not link_or_copy(at(tmp_path / "link"), at(elsewhere / "link"))
    copy = elsewhere / "b"
    assert copy.read_bytes() == source.read_bytes()
    assert (mode_of(copy), copy.stat().st_mtime_ns) == (0o775, 10**18)
    assert str((elsewhere / "link").readlink()) == "nowhere"


def test_what_is_there_is_not_replaced(tmp_path: Path, elsewhere: Path) -> None:
    """Neither by a link nor by a copy."""
    (tmp_path / "a").write_bytes(b"new")
    for target in (tmp_path / "b", elsewhere / "b"):
        target.write_bytes(b"old")
        with pytest.raises(FileExistsError):
            link_or_copy(at(tmp_path / "a"), at(target))
        assert target.read_bytes() == b"old"


@pytest.mark.parametrize("take", [link_or_copy, share_or_copy])
def test_a_copy_is_charged_before_it_is_made(tmp_path: Path, elsewhere: Path, take: Callable[..., bool]) -> None:
    """What must not be written is not: nothing is left of it. A link costs nothing, and what is in the way is charged once."""
    (tmp_path / "a").write_bytes(bytes(5000))
    charged: list[int] = []

    def refuse(count: int) -> None:
        charged.append(count)
        raise VolumeFullError("too much")

    with pytest.raises(VolumeFullError):
        take(at(tmp_path / "a"), at(elsewhere / "b"), refuse)
    assert charged == [5000]
    assert not (elsewhere / "b").exists()
    assert take(at(tmp_path / "a"), at(tmp_path / "b"), refuse)
    assert charged == [5000]
    (elsewhere / "b").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        take(at(tmp_path / "a"), at(elsewhere / "b"), refuse)
    assert charged == [5000]


# --- asking -------------------------------------------------------------------------------------------------------------


def test_used_bytes_agree_with_du(tmp_path: Path) -> None:
    """Blocks count, not lengths: a hole and a second name take no space, and links are not followed."""
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
    """The nearest existing directory above it is asked."""
    facts = os.statvfs(tmp_path)
    free = free_bytes(tmp_path / "not" / "yet")
    assert free is not None
    assert abs(free - facts.f_bavail * facts.f_frsize) < 1 << 30
    assert is_same_filesystem(tmp_path, tmp_path / "not" / "yet")


# --- syncing ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a tree with a file, a link and a FIFO in it."""
    root = tmp_path / "tree"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "file").write_bytes(b"x")
    (root / "a" / "link").symlink_to("/nowhere")
    os.mkfifo(root / "fifo")
    return root


def test_a_tree_can_be_synced(tree: Path) -> None:
    """A tree and a directory are made durable; one that does not exist is an error."""
    sync_tree(tree)
    fsync_directory(tree)
    with pytest.raises(VolumeError, match="making durable"):
        sync_tree(tree / "no")
    with pytest.raises(VolumeError, match="making durable"):
        fsync_directory(tree / "no")


def test_without_syncfs_every_file_and_directory_is_synced(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deepest directories are synced first, the root last; links and FIFOs are left out."""
    synced: list[str] = []

    def record(handle: int) -> None:
        synced.append(os.path.relpath(Path(f"/proc/self/fd/{handle}").readlink(), tree))

    monkeypatch.setattr(durable, "_syncfs", lambda _path: False)
    monkeypatch.setattr(os, "fsync", record)
    sync_tree(tree)
    assert synced == ["a/b/file", "a/b", "a", "."]


@pytest.mark.parametrize("hindrance", [errno.ENOENT, errno.EACCES])
def test_files_beside_a_tree_need_not_be_synced(tree: Path, monkeypatch: pytest.MonkeyPatch, hindrance: int) -> None:
    """In a directory that others use, too, only the names are synced: its files may vanish or belong to somebody else."""
    synced: list[str] = []
    (tree.parent / "another's").write_bytes(b"x")
    (tree / "records").mkdir()
    (tree / "records" / "manifest").write_bytes(b"x")
    real_open = os.open

    def refuse(path: str | Path, *arguments: int, dir_fd: int | None = None) -> int:
        if os.fspath(path).endswith("another's"):
            raise OSError(hindrance, os.strerror(hindrance), os.fspath(path))
        return real_open(path, *arguments, dir_fd=dir_fd)

    monkeypatch.setattr(durable, "_syncfs", lambda _path: False)
    monkeypatch.setattr(
        os, "fsync", lambda handle: synced.append(os.path.relpath(Path(f"/proc/self/fd/{handle}").readlink(), tree))
    )
    monkeypatch.setattr(os, "open", refuse)
    sync_tree(tree / "a", tree, tree.parent, records=[tree / "records"])
    assert synced == ["a/b/file", "a/b", "a", "records/manifest", "records", ".", ".."]


def test_a_watch_is_of_one_device(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One directory is kept open for each file system until the end; a path on any other file system is synced by itself."""
    places: list[Path | int] = []
    real = durable._syncfs

    def record(place: Path | int) -> bool:
        places.append(place)
        return real(place)

    monkeypatch.setattr(durable, "_syncfs", record)
    watch = WriteWatch()
    watch.begin(tree, tree / "a")
    sync_tree(tree, watch=watch)
    with syncing_meanwhile(tree / "a", watch):
        pass
    (handle,) = {place for place in places if isinstance(place, int)}
    assert len(places) == 2
    assert Path(f"/proc/self/fd/{handle}").readlink() == tree
    assert watch.place(Path("/proc")) == Path("/proc")
    watch.close()
    assert watch.place(tree) == tree
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(handle)
    watch.begin(tree / "no")
    assert watch.place(tree) == tree


def test_writing_out_while_other_work_is_done(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The block does not wait for the device; what follows it does."""
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def slow(_path: Path) -> bool:
        begun.set()
        assert may_end.wait(30)
        ended.set()
        return True

    monkeypatch.setattr(durable, "_syncfs", slow)
    with syncing_meanwhile(tree):
        assert begun.wait(30)
        assert not ended.is_set()
        may_end.set()
    assert ended.is_set()


def test_a_device_that_fails_while_other_work_is_done(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system reports a failed write once: it is raised behind the block, and is not lost."""

    def fail(path: Path) -> bool:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(durable, "_syncfs", fail)
    done = False
    with pytest.raises(VolumeError, match="making durable"), syncing_meanwhile(tree):
        done = True
    assert done


@pytest.mark.parametrize("meanwhile", [False, True])
def test_what_the_device_lost_is_not_read_from_memory(tree: Path, monkeypatch: pytest.MonkeyPatch, *, meanwhile: bool) -> None:
    """After a failed write, the kernel's copy, which seems right, is dropped, so that hashing reads the device's bytes."""
    dropped: list[str] = []

    def fail(_place: Path | int) -> bool:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def drop(handle: int, offset: int, length: int, advice: int) -> None:
        assert (offset, length, advice) == (0, 0, os.POSIX_FADV_DONTNEED)
        dropped.append(os.path.relpath(Path(f"/proc/self/fd/{handle}").readlink(), tree))

    monkeypatch.setattr(os, "posix_fadvise", drop)
    sync_tree(tree)
    assert not dropped
    monkeypatch.setattr(durable, "_syncfs", fail)
    with pytest.raises(VolumeError, match="making durable"):
        _sync_meanwhile(tree) if meanwhile else sync_tree(tree)
    assert sorted(dropped) == ["a/b/file", "fifo"]


def _sync_meanwhile(tree: Path) -> None:
    with syncing_meanwhile(tree):
        pass


def test_nobody_waits_for_the_device_after_an_error(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the block raises, its error is passed on at once."""
    begun, may_end = threading.Event(), threading.Event()

    def slow(_path: Path) -> bool:
        begun.set()
        return may_end.wait(30)

    monkeypatch.setattr(durable, "_syncfs", slow)
    with pytest.raises(KeyError):
        _fail_meanwhile(tree, begun)
    may_end.set()


def _fail_meanwhile(tree: Path, begun: threading.Event) -> None:
    with syncing_meanwhile(tree):
        assert begun.wait(30)
        raise KeyError


@pytest.mark.parametrize("hindrance", ["FUSE", "no thread"])
def test_where_nothing_can_be_written_out_meanwhile(tree: Path, monkeypatch: pytest.MonkeyPatch, hindrance: str) -> None:
    """On FUSE the call does nothing, and a system may allow no thread: the block runs all the same."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    calls: list[Path] = []
    monkeypatch.setattr(durable, "_syncfs", calls.append)
    if hindrance == "FUSE":
        monkeypatch.setattr(durable, "is_fuse", lambda _path: True)
    else:
        monkeypatch.setattr(threading.Thread, "start", refuse)
    done = False
    with syncing_meanwhile(tree):
        done = True
    assert done
    assert not calls


# --- errors -------------------------------------------------------------------------------------------------------------


def test_a_full_device_says_needed_and_free(tmp_path: Path) -> None:
    """The error for a full device names the bytes that are needed and free, and says what helps."""
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
    """Each message says what was being done, where, and what the system reported."""
    with pytest.raises(ProvisionerError) as caught, disk_errors("writing", tmp_path):
        raise OSError(number, os.strerror(number))
    assert type(caught.value) is kind
    assert str(tmp_path) in caught.value.message
    assert os.strerror(number) in caught.value.message


def test_an_error_of_the_program_passes_unchanged() -> None:
    """An error that was already translated inside the block is not translated again."""
    with pytest.raises(VolumeFullError, match="inner"), disk_errors("outer"):
        raise VolumeFullError("inner")


def test_names_are_utf8_whatever_the_locale(tmp_path: Path) -> None:
    """Under any locale, the bytes of a name on the disk are those of the manifest."""
    program = (
        "import os, sys; from provisioner.volume.fs.paths import from_native, to_native;"
        "name = to_native('\\u00fc\\udcff');"
        f"os.chdir({str(tmp_path)!r}); open(name, 'w').close();"
        "assert [from_native(found) for found in os.listdir()] == ['\\u00fc\\udcff']"
    )
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert [os.fsencode(path.name) for path in tmp_path.iterdir()] == [b"\xc3\xbc\xff"]


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        ("EIO", "the kernel's log"),
        ("EUCLEAN", "the kernel's log"),
        ("EEXIST", "in the way"),
        ("ENOTDIR", "in the way"),
        ("ENOENT", "such as /proc"),
        ("ENOTCONN", "mount it again"),
        ("ESTALE", "mount it again"),
        ("ETIMEDOUT", "does not answer"),
        ("ENFILE", "too many open files"),
        ("EFBIG", "no file of that size"),
    ],
)
def test_a_hint_for_each_failure_of_a_disk(number: str, hint: str) -> None:
    """What the kernel says of a disk is followed by what the user can do."""
    code = getattr(errno, number)
    error = disk_error(OSError(code, os.strerror(code), "/data/x"), "writing a file")
    assert error.message == f"writing a file (/data/x): {os.strerror(code)}"
    assert hint in error.hint
