"""The day of an image in the name of its file, in the forms that satellites and their distributors use."""

import re
from calendar import isleap
from datetime import date, timedelta
from typing import Final

from monitor.errors import BadData

_DAY_OF_YEAR: Final = re.compile(
    r"(?:doy|(?<![a-z0-9])a)((?:19|20)\d\d)(\d{3})(?:\d{6})?(?!\d)|(?<!\d)((?:19|20)\d\d)(\d{3})(?=t\d{6})",
    re.IGNORECASE,
)
"""Day of the year, as AppEEARS (``doy2018018000000``), MODIS (``A2018018``) and HLS (``2018018T100559``)
name it."""
_DAY: Final = re.compile(r"(?<!\d)((?:19|20)\d\d)([-_.]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])(?:\d{4}|\d{6})?(?!\d)")
"""A day, with or without hours."""
_UNSUPPORTED: Final = re.compile(
    r"(?<!\d)(?:\d{1,2}([-_.])\d{1,2}\1(?:19|20)\d\d|(?:19|20)\d\d([-_.])\d{1,2}\2\d{1,2})(?!\d)"
)
"""A day before its year, or with one digit for month or day: refused, instead of reading only its year."""


def day_in_name(name: str) -> date | None:
    """The first day in the name of a file without its ending; None if it has none.

    Raises BadData if there is no such day, or it is written in a form that is not read.

    >>> day_in_name("T48SUD_20210706T033541_B04_10m"), day_in_name("HLS.S30.T48SUD.2021187T033541.v2.0.B04")
    (datetime.date(2021, 7, 6), datetime.date(2021, 7, 6))
    """
    counted, whole = _DAY_OF_YEAR.search(name), _DAY.search(name)
    if counted and not (whole and whole.start() < counted.start()):
        year, day = int(counted[1] or counted[3]), int(counted[2] or counted[4])
        if not 1 <= day <= 365 + isleap(year):
            raise BadData(f"{counted[0]} in its name is not a date")
        return date(year, 1, 1) + timedelta(day - 1)
    if whole:
        try:
            return date(int(whole[1]), int(whole[3]), int(whole[4]))
        except ValueError as error:
            raise BadData(f"{whole[0]} in its name is not a date") from error
    if other := _UNSUPPORTED.search(name):
        raise BadData(f"{other[0]} in its name is a date in a form that is not read; write it as 2021-07-15")
    return None
