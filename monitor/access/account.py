"""The published account of a programme as a table."""

import json
from pathlib import Path

import pandas as pd

from monitor.access.installation import find_installation
from monitor.errors import BadData
from monitor.publish.programme_files import account_rows


def programme(path: str | Path) -> pd.DataFrame:
    """Open the published account of a programme: hectares by status, as ``regrowth programme`` prints them.

    Parameters
    ----------
    path : str or Path
        The configuration file of the installation, or its output root. The environment is not read.

    Returns
    -------
    pd.DataFrame
        The first row is the programme (``by`` is ``programme``), then one row a province, intervention, partner, lot
        and year, which ``value`` names. ``sites`` counts; ``total_hectares``, those of each status and those expected
        by probability are areas [ha]; NaN where a number is unknown. ``attrs`` has ``as_of`` and ``pledge_hectares``.

    Raises
    ------
    BadConfiguration
        `path` is not an installation.
    BadData
        No account is published, or it cannot be read.

    Examples
    --------
    >>> account = programme("outputs/demo")  # doctest: +SKIP
    >>> account.iloc[0][["total_hectares", "on_track", "failing"]]  # doctest: +SKIP
    """
    file = find_installation(path).outputs / "programme.json"
    if not file.is_file():
        raise BadData(f"the account is not published yet: {file} does not exist; publish it first: regrowth run")
    try:
        summary = json.loads(file.read_bytes())
        frame = pd.DataFrame(account_rows(summary))
        frame.attrs = {name: summary[name] for name in ("as_of", "pledge_hectares")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{file} is not a published account ({type(error).__name__}: {error}); write it again: regrowth publish"
        raise BadData(msg) from error
    text = frame.columns.isin(["by", "value"])
    return frame.astype(dict.fromkeys(frame.columns[~text].drop("sites"), float))
