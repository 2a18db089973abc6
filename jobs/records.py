"""Records of the library (sites, alerts, notices, assessments) as JSON values for the ledger, and back."""

from typing import Any

import msgspec
from shapely.geometry import mapping, shape


def to_json(record: Any) -> dict[str, Any]:
    """JSON values of a record: dates as ISO 8601, geometry as GeoJSON."""
    values: dict[str, Any] = msgspec.to_builtins(record, enc_hook=mapping)
    return values


def from_json[Record](values: dict[str, Any], kind: type[Record]) -> Record:
    """Record of a class from its JSON values; unknown members are ignored, missing ones take their default.

    Raises
    ------
    msgspec.ValidationError
        A member has another type, or a member without a default is missing.
    """
    return msgspec.convert(values, kind, dec_hook=lambda _, geojson: shape(geojson))
