"""Records of the library (sites, alerts, notices, assessments) as JSON values for the ledger, and back."""

from typing import TYPE_CHECKING, Any

import msgspec
from shapely.errors import ShapelyError
from shapely.geometry import mapping, shape

from monitor.errors import BadData
from monitor.series.field_rows import FieldRow
from monitor.sites.site import Site

if TYPE_CHECKING:
    from monitor.ledger.transaction import Transaction


def to_json(record: Any) -> dict[str, Any]:
    """JSON values of a record: dates as ISO 8601, geometry as GeoJSON."""
    values: dict[str, Any] = msgspec.to_builtins(record, enc_hook=mapping)
    return values


def from_json[Record](values: dict[str, Any], kind: type[Record]) -> Record:
    """Record of a class from its JSON values; unknown members are ignored, missing ones take their default.

    Raises BadData if a member has another type or an unknown value, or one without a default is missing.
    """
    try:
        return msgspec.convert(values, kind, dec_hook=lambda _, geojson: shape(geojson))
    except (msgspec.ValidationError, ShapelyError, ValueError, TypeError, KeyError, AttributeError) as error:
        about = next((f" {values[name]!r}" for name in ("id", "site") if values.get(name)), "")
        raise BadData(
            f"the ledger is damaged or was edited: its {kind.__name__}{about} cannot be used ({error}). Nothing in it "
            "was changed. 'regrowth doctor --deep' names what is damaged; to continue with a backup, give its path in "
            "[ledger] url"
        ) from error


def current_sites(t: "Transaction") -> list[Site]:
    """All sites of the ledger that are not retired."""
    return [from_json(values, Site) for values in t.sites()]


def stored_rows(values: list[dict[str, Any]]) -> tuple[FieldRow, ...]:
    """Measurements on the ground, from rows of the ledger."""
    return tuple(from_json(row, FieldRow) for row in values)
