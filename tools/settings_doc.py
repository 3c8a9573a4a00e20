"""Update the tables of settings and exit codes in the documents from the declarations that the program itself uses.

A document holds a table between ``<!-- settings:begin -->`` and ``<!-- settings:end -->``, or between
``<!-- exit-codes:begin -->`` and ``<!-- exit-codes:end -->``; the text between them is replaced.
"""

from __future__ import annotations

import argparse
import re
import sys
from typing import TYPE_CHECKING, Any, Final

from provisioner.errors import INTERNAL_ERROR_EXIT_CODE, InterruptedBySignal, ProvisionerError
from provisioner.settings.declaration import PREFIX
from provisioner.settings.model import SETTINGS
from tools.generated import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from provisioner.settings.declaration import Setting

PATHS: Final = (ROOT / "README.md", ROOT / "docs" / "usage.md")


def settings_table() -> str:
    """Return the table of settings as Markdown."""
    rows = ["| variable | in the config file | default | meaning |", "| --- | --- | --- | --- |"]
    rows += [f"| {_names(one)} | {f'`{one.key}`' if one.key else ''} | {_default(one)} | {one.description} |" for one in SETTINGS]
    rows.append("")
    rows.append(
        f"Each is also read with the prefix `{PREFIX}`, which wins over the plain name. An empty value counts as not set."
    )
    return "\n".join(rows)


def exit_codes_table() -> str:
    """Return the table of exit codes as Markdown."""
    codes: dict[int, str] = {0: "the phase is there, `ready` or `partial`"}
    codes[INTERNAL_ERROR_EXIT_CODE] = "our bug: the only case with a traceback"
    codes.update((error.exit_code, error.meaning) for error in _errors(ProvisionerError) if error.meaning)
    interrupted = InterruptedBySignal.exit_code
    rows = ["| code | meaning |", "| --- | --- |"]
    rows += [f"| {f'{code}+N' if code == interrupted else code} | {meaning} |" for code, meaning in sorted(codes.items())]
    return "\n".join(rows)


TABLES: Final[Mapping[str, Callable[[], str]]] = {"settings": settings_table, "exit-codes": exit_codes_table}


def with_tables(text: str) -> str:
    """Return a document with each of its tables replaced by the current one.

    Raises:
        ValueError: a marker has no counterpart.
    """
    for name, table in TABLES.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        if text.count(begin) != text.count(end):
            message = f"{begin} and {end} do not pair"
            raise ValueError(message)
        content = f"{begin}\n{table()}\n{end}"
        text = re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _, content=content: content, text, flags=re.DOTALL)  # type: ignore[misc]
    return text


def main(arguments: Sequence[str]) -> int:
    """Replace the tables; with ``--check`` only report those that are out of date.

    Returns:
        The exit code: 1 when a table is out of date, or is in none of the documents.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tools.settings_doc", description="Write the tables of settings and exit codes."
    )
    parser.add_argument("--check", action="store_true", help="change nothing; fail when a table is not current")
    check = parser.parse_args(arguments).check
    documents = {path: path.read_text(encoding="utf-8") for path in PATHS if path.exists()}
    code = 0
    for name in TABLES:
        if not any(f"<!-- {name}:begin -->" in text for text in documents.values()):
            print(f"no document has a place for {name}: <!-- {name}:begin -->", file=sys.stderr)
            code = 1
    for path, text in documents.items():
        current = with_tables(text)
        if current == text:
            continue
        if check:
            print(f"{path.relative_to(ROOT)} is not current; run: python -m tools.settings_doc", file=sys.stderr)
            code = 1
        else:
            path.write_text(current, encoding="utf-8", newline="\n")
    return code


def _names(setting: Setting[Any]) -> str:
    """Return the variable with its other names, except those in lower case."""
    others = [
        name for name in (*setting.preferred_names, *setting.other_names) if name.upper() != setting.name and name == name.upper()
    ]
    return f"`{setting.name}`" + (f" (also {', '.join(f'`{name}`' for name in others)})" if others else "")


def _default(setting: Setting[Any]) -> str:
    return setting.default_note or (f"`{setting.default}`" if setting.default else "none")


def _errors(error: type[ProvisionerError]) -> Iterator[type[ProvisionerError]]:
    """Yield a class of errors and all classes derived from it."""
    yield error
    for below in error.__subclasses__():
        yield from _errors(below)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
