"""Update the tables of settings and exit codes in ``docs/reference.md`` from the declarations that the program itself uses.

The tables stand between ``<!-- settings:begin -->`` and ``<!-- settings:end -->``, and between ``<!-- exit-codes:begin -->``
and ``<!-- exit-codes:end -->``; the text between the markers is replaced.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, Final

from provisioner.errors import INTERNAL_ERROR_EXIT_CODE, InterruptedBySignal, ProvisionerError
from provisioner.settings.setting import PREFIX
from provisioner.settings.settings import SETTINGS
from tools.generated import ROOT, write_or_check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from provisioner.settings.setting import Setting

PATH: Final = ROOT / "docs" / "reference.md"


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
    codes: dict[int, str] = {0: "success; for `provision`: the state is `ready` or `partial`"}
    codes[INTERNAL_ERROR_EXIT_CODE] = "a bug of the provisioner, the only case with a traceback"
    codes.update((error.exit_code, error.meaning) for error in _errors(ProvisionerError) if error.meaning)
    interrupted = InterruptedBySignal.exit_code
    rows = ["| code | meaning |", "| --- | --- |"]
    rows += [f"| {f'{code}+N' if code == interrupted else code} | {meaning} |" for code, meaning in sorted(codes.items())]
    return "\n".join(rows)


TABLES: Final[Mapping[str, Callable[[], str]]] = {"settings": settings_table, "exit-codes": exit_codes_table}


def main(arguments: Sequence[str]) -> int:
    """Write the document with current tables, or check it with ``--check``."""
    return write_or_check(arguments, "tools.settings_doc", PATH, with_tables(PATH.read_text(encoding="utf-8")))


def with_tables(text: str) -> str:
    """Return a document with each of its tables replaced by the current one.

    Raises:
        ValueError: the markers of a table do not occur exactly once.
    """
    for name, table in TABLES.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            message = f"{begin} and {end} must each be in the document once"
            raise ValueError(message)
        content = f"{begin}\n{table()}\n{end}"
        text = re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _, content=content: content, text, flags=re.DOTALL)  # type: ignore[misc]
    return text


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
