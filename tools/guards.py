"""Remove one safeguard of the program at a time, and check that the test that covers it fails.

    python -m tools.guards [NAME ...]

Works on a copy of the checkout. The check fails for a guard whose tests still pass, and for one whose line no longer exists.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT: Final = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Guard:
    """A line of code that protects against a fault."""

    name: str
    file: str
    line: str
    without: str
    row: tuple[str, ...]
    """Arguments for pytest: the tests that must fail without it."""


_WHAT_COMES: Final = "tests/faults/test_what_comes.py"
_RANGES: Final = "tests/faults/test_range_faults.py"
_ZIPS: Final = "tests/faults/test_zip_oddities.py"
_WRITERS: Final = "tests/faults/test_several_writers.py"
_HOSTILE: Final = "tests/faults/test_archive_hostile.py"
GUARDS: Final = (
    Guard(
        "digest",
        "provisioner/volume/staging/ranged_file.py",
        "if expected is None or expected.hex == found:",
        "if True:",
        (f"{_RANGES}::test_a_flipped_byte",),
    ),
    Guard(
        "piece-crc",
        "provisioner/volume/staging/piece_file.py",
        "and isal_zlib.crc32(data) == crc:",
        ":",
        (f"{_RANGES}::test_a_piece_that_a_power_cut_took_is_fetched_alone",),
    ),
    Guard(
        "range-version",
        "provisioner/remote/http/ranges.py",
        "return agreement is not Agreement.OTHER",
        "return True",
        (f"{_RANGES}::test_it_changes_while_it_arrives_and_no_digest_is_known",),
    ),
    Guard(
        "range-start",
        "provisioner/remote/http/ranges.py",
        "elif (found := range_of(response)) is None or found.start != start:",
        "elif (found := range_of(response)) is None:",
        (_RANGES, "-k", "test_what_passes and content_range"),
    ),
    Guard(
        "token-origin",
        "provisioner/remote/http/remembered_redirect.py",
        "authorized=self._authorized and same,",
        "authorized=self._authorized,",
        (f"{_RANGES}::test_a_redirect_is_asked_for_once",),
    ),
    Guard(
        "retry-after",
        "provisioner/remote/retry.py",
        "retry_after = parse_retry_after(headers, now)",
        "retry_after = None",
        (f"{_RANGES}::test_the_wait_that_the_server_asks_for",),
    ),
    Guard(
        "path-outside",
        "provisioner/volume/archive/names.py",
        'if part == "..":',
        'if part == "...":',
        ("tests/faults/test_archive_hostile.py",),
    ),
    Guard(
        "joined-tar",
        "provisioner/volume/archive/tar/reader.py",
        "                self._stream.unread(block)\n                self._globals = Extended()\n                return True",
        "                return False",
        ("tests/faults/test_tar_oddities.py", "-k", "second"),
    ),
    Guard(
        "bytes-behind-stream",
        "provisioner/volume/archive/trailer.py",
        "    if found:\n        raise refusal",
        "    if False:\n        raise refusal",
        ("tests/faults/test_tar_oddities.py", "-k", "behind and lose_data"),
    ),
    Guard(
        "last-member-counts",
        "provisioner/volume/archive/duplicates.py",
        "            if self.key(path) in self._nonempty:",
        "            if False:",
        ("tests/faults/test_tar_appended.py", "-k", "led_astray"),
    ),
    Guard(
        "tree-nofollow",
        "provisioner/volume/fs/directories.py",
        'getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) |',
        'getattr(os, "O_DIRECTORY", 0) |',
        ("tests/faults/test_outside.py", "-k", "left_in_staging"),
    ),
    Guard(
        "links-together",
        "provisioner/volume/tree/links.py",
        'text = target_of("/".join(directory))',
        "text = None",
        ("tests/faults/test_outside.py", "-k", "whole_tree_shows"),
    ),
    Guard(
        "listing-path",
        "provisioner/catalog/relative_path.py",
        'if any(part in {"", ".", ".."} for part in path.split("/")):',
        "if False:",
        ("tests/contract/test_hub_client.py", "tests/faults/test_hub_faults.py"),
    ),
    Guard(
        "sync",
        "provisioner/volume/store/publish.py",
        "            self._sync(dataset, tree, watch)\n",
        "",
        ("tests/faults/test_power_cut.py::test_after_the_end",),
    ),
    Guard(
        "fuse-sync",
        "provisioner/volume/fs/durable.py",
        "if is_fuse(path) or not _syncfs(path if watch is None else watch.place(path)):",
        "if not _syncfs(path if watch is None else watch.place(path)):",
        ("tests/faults/test_odd_disks.py", "-k", "test_a_disk_that_keeps"),
    ),
    Guard(
        "names",
        "provisioner/engine/completed_tree.py",
        "        check_names((entry.path for entry in manifest), self._tree, label)\n",
        "",
        ("tests/faults/test_odd_disks.py", "-k", "test_names_that_are_one"),
    ),
    Guard(
        "bucket",
        "provisioner/engine/volume_session.py",
        'if self.kind == "object" and self.settings.lock == "flock":',
        "if False:",
        ("tests/faults/test_odd_disks.py", "-k", "test_a_bucket_needs"),
    ),
    Guard(
        "redaction",
        "provisioner/redaction.py",
        "return redact_urls(text)",
        "return text",
        ("tests/faults/test_secrets.py",),
    ),
    Guard(
        "beside",
        "provisioner/engine/concurrent_steps.py",
        "second.rank - second.step.beside <= first.rank",
        "True",
        ("tests/unit/test_concurrent_steps.py", "-k", "window"),
    ),
    Guard(
        "in-common",
        "provisioner/engine/shared_volume.py",
        "any(keys & other.keys for other in self._builds if other is not build) or ",
        "",
        ("tests/faults/test_side_by_side.py", "-k", "in_common"),
    ),
    Guard(
        "lowest-rank",
        "provisioner/remote/http/concurrency.py",
        "return bool(self._waiting) and min(self._waiting) < rank",
        "return False",
        ("tests/unit/test_concurrency.py", "-k", "lowest_rank"),
    ),
    Guard(
        "makes-way",
        "provisioner/engine/concurrent_steps.py",
        "if other.rank > attempt.rank:",
        "if False:",
        ("tests/unit/test_concurrent_steps.py", "-k", "more_important"),
    ),
    Guard(
        "deep",
        "provisioner/volume/store/tree_check.py",
        "if deep and (actual := tree.sha256(entry.path, entry.size, check_cancelled, advance)) != entry.sha256:",
        "if False:",
        ("tests/faults/test_verify.py", "-k", "test_damage_is_found"),
    ),
    Guard(
        "files-only",
        "provisioner/volume/fs/files.py",
        "    handle = os.open(path, OPEN_READ & ~",
        '    return path.open("rb")\n    handle = os.open(path, OPEN_READ & ~',
        ("tests/faults/test_verify.py", "-x", "-k", "test_a_fifo_in_place_of_a_record"),
    ),
    Guard(
        "versions-first",
        "provisioner/engine/repair.py",
        "sorted(verifier.check_dataset(name), key=lambda checked: not checked.version)",
        "verifier.check_dataset(name)",
        ("tests/faults/test_death.py", "-k", "test_death_of_a_repair_where"),
    ),
    Guard(
        "lock",
        "provisioner/volume/fs/lock.py",
        "            lock.acquire(timeout=0)\n",
        "",
        (f"{_WRITERS}::test_who_needs_the_whole_volume",),
    ),
    Guard(
        "data-set-lock",
        "provisioner/volume/fs/lock.py",
        "fcntl.LOCK_SH if shared else fcntl.LOCK_EX",
        "fcntl.LOCK_SH",
        ("tests/faults/test_many.py",),
    ),
    Guard(
        "space-of-others",
        "provisioner/engine/shared_writer.py",
        "make_rules(self._session.settings), sum(spaces))",
        "make_rules(self._session.settings), 0)",
        (f"{_WRITERS}::test_space_that_another_needs",),
    ),
    Guard(
        "staged-files-of-others",
        "provisioner/engine/shared_writer.py",
        "if not build.keys.isdisjoint(keys)), None)",
        "if build is None), None)",
        (f"{_WRITERS}::test_one_file_of_two_data_sets",),
    ),
    Guard(
        "leftovers",
        "provisioner/volume/store/cleanup.py",
        "directories = [layout.private, layout.writers, layout.staging, layout.blobs]",
        "directories = [layout.private, layout.writers, layout.staging]",
        ("tests/faults/test_byte_kills.py",),
    ),
    Guard(
        "leftover-names",
        "provisioner/volume/store/cleanup.py",
        "            if TEMPORARY_NAME.fullmatch(name):\n",
        "            if _PRIVATE_LEFTOVER.fullmatch(name):\n",
        ("tests/faults/test_only_ours.py", "-k", "test_files_of_others and volume and command1"),
    ),
    Guard(
        "newer-record",
        "provisioner/volume/store/receipt_file.py",
        "if is_newer(document, RECEIPT_SCHEMA) and",
        "if False and",
        ("tests/faults/test_only_ours.py", "-k", "test_a_version_that_a_newer_program_recorded and receipt"),
    ),
    Guard(
        "shared-read-only",
        "provisioner/volume/fs/links.py",
        "    if _make_read_only(source):\n",
        "    if True:\n",
        ("tests/faults/test_only_ours.py", "-k", "test_an_edited_file"),
    ),
    Guard(
        "umask",
        "provisioner/volume/fs/private_files.py",
        "undo_umask(handle)",
        "pass",
        ("tests/faults/test_only_ours.py", "-k", "test_a_umask and 63"),
    ),
    Guard(
        "budget",
        "provisioner/volume/staging/blob.py",
        "        self._charge(len(view))\n",
        "",
        ("tests/faults/test_limits.py", "-k", "test_the_last_bytes_of_a_volume and url"),
    ),
    Guard(
        "unpack-charge",
        "provisioner/volume/archive/limits.py",
        "        self._charge(size)\n",
        "",
        ("tests/faults/test_limits.py", "-k", "test_the_last_bytes_of_a_volume and tar"),
    ),
    Guard(
        "staged-tree",
        "provisioner/volume/store/publish.py",
        '        if findings:\n            raise VolumeError(\n                f"{dataset}: the staged tree',
        '        if not findings and findings:\n            raise VolumeError(\n                f"{dataset}: the staged tree',
        ("tests/contract/test_store.py", "tests/faults/test_interruption.py"),
    ),
    Guard(
        "as-written",
        "provisioner/settings/lookup.py",
        "        text = unwrapped(self.text)\n",
        "        text = self.text.strip()\n",
        ("tests/unit/test_written.py", "-k", "test_what_is_meant"),
    ),
    Guard(
        "comments",
        "provisioner/settings/written.py",
        "    if _COMMENT.search(text):\n",
        "    if False:\n",
        ("tests/unit/test_written.py", "-k", "test_paths_that_are_none"),
    ),
    Guard(
        "named-files",
        "provisioner/volume/fs/files.py",
        "                wait.until_readable()\n",
        "                pass\n",
        ("tests/faults/test_named_files.py", "-k", "test_what_is_found"),
    ),
    Guard(
        "streams",
        "provisioner/cli/main.py",
        "    secure_streams()\n",
        "",
        ("tests/faults/test_streams.py", "-k", "test_closed_and_full"),
    ),
    Guard(
        "names-in-utf-8",
        "provisioner/cli/main.py",
        "    use_utf8_for_names()\n",
        "",
        ("tests/faults/test_streams.py", "-k", "test_a_locale"),
    ),
    Guard(
        "login-origin",
        "provisioner/remote/http/redirects.py",
        " and origin_of(rewritten) == origin_of(current):",
        ":",
        ("tests/faults/test_logins.py", "-k", "test_a_login_in_the_catalog"),
    ),
    Guard(
        "login-recorded",
        "provisioner/remote/http/versions.py",
        "plain = without_user(url)",
        "plain = url",
        ("tests/faults/test_logins.py", "-k", "interrupted"),
    ),
    Guard(
        "signature-recorded",
        "provisioner/remote/http/versions.py",
        'shown = f"{show_url(plain)}?{_hash(query)}" if query else plain',
        "shown = plain",
        ("tests/faults/test_references.py", "-k", "interrupted_signed"),
    ),
    Guard(
        "blob-of-others",
        "provisioner/volume/store/hub_cache.py",
        "for etag in ours - used:",
        "for etag in ours:",
        ("tests/faults/test_hub_cache.py", "-k", "links_for_itself"),
    ),
    Guard(
        "mirror-host",
        "provisioner/remote/rewriting.py",
        "(_ends_host(prefix) or rest",
        "(True or rest",
        ("tests/unit/test_rewriting.py",),
    ),
    Guard(
        "env-lines",
        "provisioner/commands/env_file.py",
        "        if entry.name not in replaced:\n",
        "        if entry.name is None:\n",
        ("tests/unit/test_env_lines.py",),
    ),
    Guard(
        "version-of-a-rest",
        "provisioner/remote/http/file_fetch.py",
        "or self._agreement(answer) is not Agreement.SAME):",
        "or False):",
        ("tests/faults/test_two_versions.py::test_any_sequence_of_responses_of_two_versions[one_connection]",),
    ),
    Guard(
        "young-date",
        "provisioner/remote/http/versions.py",
        "- changed >= _CLEARLY_OLDER",
        "- changed >= 0",
        ("tests/faults/test_two_versions.py::test_any_sequence_of_responses_of_two_versions[one_connection]",),
    ),
    Guard(
        "place-of-a-validator",
        "provisioner/remote/http/versions.py",
        'or (found["place"] or "") != self.place:',
        "or False:",
        ("tests/faults/test_two_versions.py::test_any_sequence_of_responses_of_two_versions[one_connection]",),
    ),
    Guard(
        "once-more",
        "provisioner/remote/transfers.py",
        "if has_mirrors and not (was_resumed or transfer.form.is_encoded):",
        "if not (was_resumed or transfer.form.is_encoded):",
        ("tests/faults/test_servers_as_they_are.py", "-k", "test_a_byte_that_is_wrong_once"),
    ),
    Guard(
        "other-coding",
        "provisioner/remote/http/ranges.py",
        "if self._form.decoder(response.headers, total_size(response), self._requested) is not None:",
        "if False:",
        ("tests/faults/test_servers_as_they_are.py", "-k", "comes_compressed"),
    ),
    Guard(
        "too-slow",
        "provisioner/remote/sockets.py",
        "if pace.total - self._mark < pace.least:",
        "if False:",
        ("tests/faults/test_servers_as_they_are.py", "-k", "in_drops and body"),
    ),
    Guard(
        "address-that-answered",
        "provisioner/remote/dialing.py",
        "self._good[key] = address.address",
        "pass",
        ("tests/faults/test_servers_as_they_are.py", "-k", "test_the_first_address_is_dead"),
    ),
    Guard(
        "lengths-that-differ",
        "provisioner/remote/http/fields.py",
        "number = None if others else number_in(length)",
        "number = number_in(length)",
        ("tests/faults/test_servers_as_they_are.py", "-k", "test_lengths_that_are_said_twice"),
    ),
    Guard(
        "location-encoded",
        "provisioner/remote/http/locations.py",
        "_checked_host(encoded(location))",
        "_checked_host(location)",
        ("tests/faults/test_servers_as_they_are.py", "-k", "test_locations_as_servers_write_them"),
    ),
    Guard(
        "cookie-host",
        "provisioner/remote/http/chain_cookies.py",
        'if host != self.host and not (self.has_domain and host.endswith(f".{self.host}")):',
        "if False:",
        ("tests/faults/test_servers_as_they_are.py", "-k", "test_a_chain_that_needs_its_cookies"),
    ),
    Guard(
        "node-that-died",
        "provisioner/remote/http/remembered_redirect.py",
        "except (AccessDeniedError, NotFoundError, RemoteRefusedError, Transient) as error:",
        "except () as error:",
        ("tests/faults/test_servers_as_they_are.py", "-k", "test_a_node_that_dies and ranges"),
    ),
    Guard(
        "whole-run-total",
        "provisioner/reporting/progress.py",
        "planned = [size for name, size in self._expected.items() if name not in meters]",
        "planned: list[Size | None] = []",
        ("tests/unit/test_progress.py", "-k", "test_whole_run_with_estimates"),
    ),
    Guard(
        "exceeded-estimate",
        "provisioner/reporting/progress.py",
        "run.total_bytes += sum(max(meter.done_bytes, meter.total_bytes or 0) for meter in meters.values())",
        "run.total_bytes += sum(meter.total_bytes or 0 for meter in meters.values())",
        ("tests/unit/test_progress.py", "-k", "test_no_share_exceeds_the_whole"),
    ),
    Guard(
        "terminal-without-a-size",
        "provisioner/reporting/text_width.py",
        "return columns or USUAL_COLUMNS, lines or _USUAL_LINES",
        "return columns, lines",
        ("tests/unit/test_bars.py", "-k", "test_bars_on_terminals_of_all_sizes"),
    ),
    Guard(
        "staged-bytes-in-the-plan",
        "provisioner/engine/view.py",
        "return with_staged_bytes(plan, session.layout), inventory",
        "return plan, inventory",
        ("tests/faults/test_what_people_see.py", "-k", "test_an_interrupted_run_is_carried_on"),
    ),
    Guard(
        "heartbeat-of-a-run",
        "provisioner/reporting/liveness.py",
        "if self.is_recent:",
        "if True:",
        ("tests/faults/test_what_people_see.py", "-k", "test_status_of_a_run_without_a_heartbeat"),
    ),
    Guard(
        "confirmed-answers",
        "provisioner/commands/init.py",
        'if not terminal.confirm("Go ahead?", default=True):',
        'if not terminal.confirm("Go ahead?", default=True) and False:',
        ("tests/contract/test_init.py", "-k", "test_nothing_is_created_before_it_is_confirmed"),
    ),
    Guard(
        "all-mistakes-at-once",
        "provisioner/catalog/document.py",
        "self.mistakes.add(error)",
        "raise",
        ("tests/faults/test_what_people_see.py", "-k", "test_six_mistakes_of_a_catalog_are_named_at_once"),
    ),
    Guard(
        "zip-unlisted-member",
        "provisioner/volume/archive/zip/gaps.py",
        "                self._check_no_member(at, data, end)\n",
        "",
        (f"{_ZIPS}::test_what_no_digest_makes_right",),
    ),
    Guard(
        "zip-overlap",
        "provisioner/volume/archive/zip/content.py",
        "        if end > limit:\n",
        "        if False:\n",
        (f"{_ZIPS}::test_what_no_digest_makes_right",),
    ),
    Guard(
        "zip-checksum",
        "provisioner/volume/archive/zip/content.py",
        "        if crc != entry.crc:\n            self._fail(",
        "        if False:\n            self._fail(",
        (f"{_HOSTILE}", "-k", "zip"),
    ),
    Guard(
        "zip-bytes-between",
        "provisioner/volume/archive/zip/gaps.py",
        '            self._oddities.accept("bytes that belong to nothing follow a member", entry.name)\n',
        "            pass\n",
        (f"{_ZIPS}::test_what_is_odd_needs_a_digest",),
    ),
    Guard(
        "zip-pipe",
        "provisioner/volume/archive/zip/reader.py",
        "is_from_pipe = file_type == stat.S_IFIFO and entry.size > 0",
        "is_from_pipe = False",
        (f"{_ZIPS}::test_what_writers_make_comes_out_whole",),
    ),
    Guard(
        "zip-renamed-member",
        "provisioner/volume/archive/zip/names.py",
        'if int.from_bytes(field[1:_UNICODE_PATH_START], "little") != zlib.crc32(raw):',
        "if False:",
        (f"{_ZIPS}::test_names",),
    ),
    Guard(
        "odd-without-a-digest",
        "provisioner/volume/archive/oddities.py",
        "        if not self.proven:\n",
        "        if False:\n",
        (f"{_ZIPS}::test_what_is_odd_needs_a_digest",),
    ),
    Guard(
        "folded-names-of-two-archives",
        "provisioner/volume/archive/duplicates.py",
        "        if other != path:\n",
        "        if False:\n",
        ("tests/contract/test_archive.py::test_a_volume_that_folds_names_of_two_artifacts",),
    ),
    Guard(
        "plain-paths",
        "provisioner/volume/tree/directories.py",
        ' or path.startswith("/")',
        "",
        ("tests/contract/test_tree_writer.py",),
    ),
    Guard(
        "directory-for-the-app",
        "provisioner/engine/app_files.py",
        "make_directory(self._layout.datasets)",
        "pass",
        ("tests/faults/test_what_people_see.py", "-k", "test_the_directory_of_the_data_exists_after_a_partial_run"),
    ),
    Guard(
        "rehearsed-run",
        "provisioner/commands/doctor.py",
        "yield from results",
        "pass",
        ("tests/faults/test_doctor.py", "-k", "test_what_a_run_refuses_is_wrong"),
    ),
    Guard(
        "tried-permissions",
        "provisioner/commands/probes/volume.py",
        'yield run_probe("permissions", lambda: try_permissions(session.layout, plan), cancellation)',
        "pass",
        ("tests/faults/test_doctor.py", "-k", "test_a_volume_that_a_run_cannot_write"),
    ),
    Guard(
        "content",
        "provisioner/volume/staging/content.py",
        "    if answer is not None:\n",
        "    if False:\n",
        (f"{_WHAT_COMES}::test_it_is_refused_and_nothing_of_it_is_remembered",),
    ),
    Guard(
        "mirror-after-archive",
        "provisioner/remote/transfers.py",
        "        self.accept()\n",
        "        pass\n",
        (f"{_WHAT_COMES}::test_another_place_has_the_file",),
    ),
    Guard(
        "archive-of-another-url",
        "provisioner/engine/unpack.py",
        "            self._file.fail(error, reader.version)\n            reader.wait_dropped()\n",
        "",
        (f"{_WHAT_COMES}::test_a_large_file_is_something_else",),
    ),
    Guard(
        "pointers",
        "provisioner/volume/archive/file_writer.py",
        "        if is_pointer(data):\n",
        "        if False:\n",
        (f"{_WHAT_COMES}::test_pointers_in_an_archive",),
    ),
)


def is_red_without(guard: Guard, scratch: Path) -> bool:
    """Remove the guard in a copy, and run its tests there.

    Raises:
        LookupError: the line does not occur exactly once.
    """
    copy = scratch / guard.name
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout  # noqa: S607
    for name in listed.decode().split("\0"):
        if name:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    path = copy / guard.file
    text = path.read_text("utf-8")
    if text.count(guard.line) != 1:
        raise LookupError(f"{guard.name}: {guard.file} does not hold its line once")
    path.write_text(text.replace(guard.line, guard.without), "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *guard.row]
    done = subprocess.run(command, cwd=copy, env=dict(os.environ), capture_output=True, check=False)  # noqa: S603 - pytest
    shutil.rmtree(copy)
    # 1 is pytest's code for tests that ran and failed; a file that cannot be imported gives another one.
    return done.returncode == 1


def main(arguments: Sequence[str]) -> int:
    """Check all guards, or some; return 0 if the tests of each failed."""
    parser = argparse.ArgumentParser(prog="guards", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(guard.name for guard in GUARDS))
    options = parser.parse_args(arguments)
    chosen = [guard for guard in GUARDS if not options.names or guard.name in options.names]
    green = 0
    with tempfile.TemporaryDirectory(prefix="provisioner-guards-") as scratch:
        for guard in chosen:
            red = is_red_without(guard, Path(scratch))
            green += not red
            print(f"without {guard.name:14} {'red, as it must be' if red else 'STILL GREEN'}", flush=True)
    print(f"{len(chosen) - green} of {len(chosen)} rows turn red without their guard.")
    return 1 if green or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
