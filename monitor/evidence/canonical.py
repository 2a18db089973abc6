"""Canonical JSON: the one sequence of bytes that stands for a value, by RFC 8785 [1]_.

What is hashed and signed is canonical: two programs that hold the same value get the same bytes. RFC 8785 refuses a few
values that JSON text can carry, and that a person's note or an edited ledger may hold; :func:`representable` replaces
them, so that no record ever fails a night, and no two records have the same bytes.

References
----------
.. [1] A. Rundgren, B. Jordan and S. Erdtman, "JSON Canonicalization Scheme (JCS)," RFC 8785, 2020,
   doi:10.17487/RFC8785.
"""

import math
from typing import Any, Final

import rfc8785

from monitor.errors import BadData

LARGEST_INTEGER: Final = 2**53 - 1
"""Largest integer that RFC 8785 represents: up to here, a double of IEEE 754 holds every integer."""
_EXPONENT_FROM: Final = 1e21
"""Smallest float that RFC 8785 writes with a positive exponent."""


def canonical(value: Any) -> bytes:
    """Canonical JSON of a value, in UTF-8: keys sorted, no white space, numbers in their shortest form.

    Numbers of equal value are one number, as in JSON: ``1``, ``1.0`` and, for zero, ``-0.0``. Raises ``BadData`` for a
    value that RFC 8785 does not represent: NaN, infinity, an integer beyond :data:`LARGEST_INTEGER`, text with a lone
    surrogate, a key that is not text, nesting of about a thousand levels, or another type.
    """
    try:
        return rfc8785.dumps(value)
    except (ValueError, RecursionError) as error:
        raise BadData(f"a value has no canonical JSON ({error})") from error


def representable(value: Any) -> Any:
    r"""A value that :func:`canonical` accepts, for any JSON value that a ledger can hold.

    Most values are returned as they are. Different values stay different:

    - NaN, infinity and integers beyond :data:`LARGEST_INTEGER` become ``{"$number": "NaN"}``, ``"Infinity"``,
      ``"-Infinity"`` or the decimal digits; so do floats that would be written like such integers;
    - text with a lone surrogate (half of a character, which UTF-8 cannot hold) becomes ``{"$text": ...}``, the half
      written as ``\ud83d`` and each backslash doubled; such a key becomes ``$text:`` and the same;
    - any other key that begins with ``$`` gets one more in front, so that no record can imitate these.
    """
    if isinstance(value, dict):
        return {_key(key): representable(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [representable(entry) for entry in value]
    if isinstance(value, str):
        return {"$text": _escaped(value)} if _has_lone_surrogate(value) else value
    if isinstance(value, float) and not math.isfinite(value):
        return {"$number": "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
    if isinstance(value, float) and abs(value) >= _EXPONENT_FROM:
        return value  # written with an exponent, and so read as a float again
    if isinstance(value, int | float) and abs(value) > LARGEST_INTEGER:
        return {"$number": str(int(value))}
    return value


def _key(key: str) -> str:
    if _has_lone_surrogate(key):
        return f"$text:{_escaped(key)}"
    return f"${key}" if key.startswith("$") else key


def _has_lone_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").encode("utf-8", "backslashreplace").decode()
