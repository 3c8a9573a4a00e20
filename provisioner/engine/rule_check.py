"""Check whether the rule of a part can apply at all, by the columns of the indexes, before anything is fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provisioner.catalog.conditions import ConditionError, check_columns
from provisioner.catalog.document import nearest, quoted
from provisioner.catalog.parts import SPLIT_COLUMN
from provisioner.errors import PartError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.catalog.conditions import Kind
    from provisioner.catalog.parts import PartRule


def check_rule(rule: PartRule, dataset: str, label: str) -> None:
    """Refuse a condition that does not fit the columns of any index that the data set may have.

    Which reader understands a tree is known only once the tree is here. A data set whose id is the name of a reader, or
    begins with one and an underscore, is assumed to need that reader; any tree may have the index of a directory of files.

    Args:
        rule: the rule of the part.
        dataset: the data set's id.
        label: names it in messages.

    Raises:
        PartError: there is no such column, or its values are of another type.
    """
    if (condition := rule.condition) is None:
        return
    from provisioner.indexing.card import all_columns  # noqa: PLC0415 - few requests have a condition
    from provisioner.indexing.registry import GENERIC, VERSIONS, reader_named  # noqa: PLC0415 - the same

    own = [name for name in VERSIONS if dataset == name or dataset.startswith(f"{name}_")]
    names = [*own, *GENERIC] if own else list(VERSIONS)
    kinds: dict[str, dict[str, Kind]] = {}
    for name in names:
        found = {column.name: kind_of_feature(column.feature) for column in all_columns(reader_named(name))}
        kinds[name] = {**found, SPLIT_COLUMN: "text"}
    known = {column for columns in kinds.values() for column in columns}
    for test in condition.tests():
        if test.column not in known:
            of = f"the index of {dataset}" if own else "no index"
            has = "has no column" if own else "has a column"
            raise PartError(
                f"{label}: where: {of} {has} {quoted(test.column)}; nothing was fetched", hint=nearest(test.column, known)
            )
    columns_asked = {test.column for test in condition.tests()}
    errors: list[ConditionError] = []
    for columns in kinds.values():
        if columns_asked <= columns.keys():
            try:
                check_columns(condition, columns)
            except ConditionError as error:
                errors.append(error)
            else:
                return
    if not errors:
        together = ", ".join(quoted(column) for column in sorted(columns_asked))
        raise PartError(f"{label}: where: no index has all of the columns {together}; nothing was fetched")
    raise PartError(f"{label}: where: {errors[0].problem}; nothing was fetched", hint=errors[0].hint)


def kind_of_feature(feature: Mapping[str, Any]) -> Kind:
    """Return the type of a column's values, as used in conditions."""
    if "list" in feature:
        return "list" if isinstance(feature["list"], str) else "other"
    dtype = feature.get("dtype")
    if isinstance(dtype, dict) or dtype == "string":
        return "text"
    if dtype == "bool":
        return "truth"
    return "number" if dtype in {"int64", "float64"} else "other"
