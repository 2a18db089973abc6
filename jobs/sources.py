"""Sources from the settings."""

from jobs.settings import Settings, SourceSettings
from monitor.errors import BadConfiguration
from monitor.imagery.source import Source


def open_source(settings: Settings) -> tuple[Source, SourceSettings]:
    """The source that scenes are taken from.

    Raises
    ------
    BadConfiguration
        A kind of source, or a number of them, that this version can not read from.
    """
    if len(settings.source) > 1:
        msg = "several [[source]] are given; this version reads from one. Keep the preferred one"
        raise BadConfiguration(msg)
    chosen = settings.source[0]
    if chosen.kind == "sample":
        from monitor.imagery.sample import Sample

        return Sample(chosen.seed), chosen
    msg = f"[source] kind = {chosen.kind!r} can not be read by this version yet; 'sample' can"
    raise BadConfiguration(msg)
