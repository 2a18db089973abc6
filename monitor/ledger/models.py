"""Tables of the ledger. Records of other parts are stored in the column `payload`, as compressed JSON."""

from typing import Annotated, Any, ClassVar

from sqlalchemy import Float, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from monitor.ledger.packed import Packed

Day = Annotated[str, mapped_column(String(10))]


class Base(DeclarativeBase):
    """Base class of the tables."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text, float: Float, dict[str, Any]: Packed, list[Any]: Packed
    }  # fmt: skip


class LedgerRow(Base):
    """The ledger itself: one row, which belongs to the database and is not copied into another."""

    __tablename__ = "ledger"

    id: Mapped[int] = mapped_column(primary_key=True)
    format: Mapped[int]  # format of the tables, see monitor.ledger.ledger.FORMAT
    number: Mapped[int]  # how often it was taken: the number of its present holder
    holder: Mapped[str]  # process that took it last: its work, number and host, and since when; empty: none ever did


class SiteVersion(Base):
    """One version of a site in the registry; at most one is current."""

    __tablename__ = "sites"
    __table_args__ = (UniqueConstraint("site", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    site: Mapped[str] = mapped_column(String(400), index=True)
    version: Mapped[str] = mapped_column(String(64))
    current: Mapped[bool]
    added: Mapped[str] = mapped_column(String(32))
    payload: Mapped[dict[str, Any]]


class RegistrationRow(Base):
    """One change of the registry: how a site is registered from the night after `newest_night` on. Never edited."""

    __tablename__ = "registrations"

    id: Mapped[int] = mapped_column(primary_key=True)
    site: Mapped[str] = mapped_column(String(400), index=True)
    newest_night: Mapped[Day]  # newest night with an assessment when it was made; empty: there was none
    version: Mapped[str | None] = mapped_column(String(64))  # version of the site; None: it is retired
    episode: Mapped[int]


class EpisodeRow(Base):
    """One episode of a site: from its start until a person closes it."""

    __tablename__ = "episodes"
    __table_args__ = (UniqueConstraint("site", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    site: Mapped[str] = mapped_column(String(400), index=True)
    number: Mapped[int]
    start: Mapped[Day]
    opened: Mapped[str] = mapped_column(String(32))
    closed: Mapped[str | None] = mapped_column(String(32))
    why: Mapped[str | None]  # reason for closing it
    budget: Mapped[float]  # share of the false-alarm budget of the site that this episode may use; 1 for the first [1]


class PromiseRow(Base):
    """One promise about a site: what it is judged by from a day on. Never edited and never deleted."""

    __tablename__ = "promises"
    __table_args__ = (UniqueConstraint("site", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    site: Mapped[str] = mapped_column(String(400), index=True)
    number: Mapped[int]  # from 1 for each site
    begins: Mapped[Day]  # first day that is judged by it; of the first promise the start of the site
    by: Mapped[str | None]  # who changed it; None: the first promise, from the registry
    why: Mapped[str | None]  # None as for `by`
    recorded: Mapped[str] = mapped_column(String(40))  # time of the change; of the first the day of the first verdict
    payload: Mapped[dict[str, Any]]  # see monitor.sites.promise.promise_of


class ControlsRow(Base):
    """Frozen control units of one ground, see :func:`monitor.sites.site.ground_key`."""

    __tablename__ = "controls"

    ground: Mapped[str] = mapped_column(String(64), primary_key=True)
    site: Mapped[str] = mapped_column(String(400), index=True)
    hash: Mapped[str] = mapped_column(String(64))
    frozen: Mapped[str] = mapped_column(String(32))
    payload: Mapped[dict[str, Any]]


class SnapshotRow(Base):
    """Landscape, and number of its rows, that a ground was last read from."""

    __tablename__ = "stored"

    ground: Mapped[str] = mapped_column(String(64), primary_key=True)
    site: Mapped[str] = mapped_column(String(400), index=True)
    snapshot: Mapped[str] = mapped_column(String(64))


class GroundDataRow(Base):
    """Data about a ground other than imagery.

    Kinds: ``terrain``, ``rain``, ``detectability``, ``left_out`` (control units that no longer count), ``tried`` (last
    season without control units to be found), ``worst_patch`` (where to look first; may be empty), ``growth`` (points
    of its chart), ``seasons`` (yearly amplitudes, for its lot), ``unread`` (since when, by acquisition).
    """

    __tablename__ = "background"

    ground: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    payload: Mapped[dict[str, Any]]


class CalibrationRow(Base):
    """Constants of the verdict for a tile and biome. Never edited: a new season, more ground or new code adds a row."""

    __tablename__ = "calibrations"
    __table_args__ = (UniqueConstraint("tile", "biome", "season", "stored", "made_from"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    tile: Mapped[str] = mapped_column(String(20))
    biome: Mapped[str] = mapped_column(String(40))
    season: Mapped[int]  # last growing season whose data was used
    as_of: Mapped[Day]  # first night on which they are used
    stored: Mapped[int]  # number of sites of the biome whose control ground was stored then
    made_from: Mapped[str] = mapped_column(String(64))  # hash of the pool, the season and the code that set them
    hash: Mapped[str] = mapped_column(String(64))
    placebos: Mapped[int]  # number of placebo sites; 0: none, the defaults are used
    payload: Mapped[dict[str, Any]]


class RunRow(Base):
    """One run of a job."""

    __tablename__ = "runs"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    as_of: Mapped[Day]
    started: Mapped[str] = mapped_column(String(40))
    finished: Mapped[str | None] = mapped_column(String(40))  # None: it is running, or was killed
    status: Mapped[int | None]  # exit status; None as for `finished`
    error: Mapped[str | None]  # what ended it; None: it ran to its end
    manifest: Mapped[dict[str, Any] | None]  # None: it did not run to its end
    summary: Mapped[dict[str, Any] | None]  # counts of its manifest, and what failed in it; None as for `manifest`


class EecuRow(Base):
    """Computing time of Earth Engine that the runs of a month have used, as this program estimates it."""

    __tablename__ = "eecu"

    month: Mapped[str] = mapped_column(String(7), primary_key=True)  # `2026-11`, UTC
    seconds: Mapped[float]  # [EECU s]


class AssessmentsRow(Base):
    """Assessments of sites of one landscape by one night. Never edited: other pixels, plans or code make a new row."""

    __tablename__ = "assessments"
    __table_args__ = (
        Index("ix_assessments_landscape", "landscape", "as_of", "id"),
        Index("ix_assessments_day", "as_of"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    landscape: Mapped[str] = mapped_column(String(64))
    as_of: Mapped[Day]
    run: Mapped[str] = mapped_column(String(64))
    origins: Mapped[list[Any]]  # of each: site, digest, version, snapshot, left_out, as in StoredAssessment
    payloads: Mapped[list[Any]]  # the assessments as JSON values, in the order of `origins`


class StateRow(Base):
    """State of a site from a day on, as its assessments say. A row only where it changes; never edited."""

    __tablename__ = "states"
    __table_args__ = (Index("ix_states_latest", "site", "since", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    site: Mapped[str] = mapped_column(String(400))
    since: Mapped[Day]  # day of the first assessment with this state; of rows of one day the last one counts
    newest_night: Mapped[Day]
    """Newest night when it was stored; after `since`: of a night run later the account counts from the next."""
    version: Mapped[str] = mapped_column(String(64))  # version of the site that was judged
    landscape: Mapped[str] = mapped_column(String(64))  # landscape in whose rows the assessment is
    status: Mapped[str | None] = mapped_column(String(20))
    alert: Mapped[str | None] = mapped_column(String(20))
    alert_rule: Mapped[str | None] = mapped_column(String(20))
    hectares: Mapped[float | None]
    episode: Mapped[int | None]
    loss_on: Mapped[Day | None]


class SelfCheckRow(Base):
    """One weekly recomputation of a random site from its stored pixels. Never edited."""

    __tablename__ = "self_checks"

    day: Mapped[str] = mapped_column(String(10), primary_key=True)  # night that did it
    site: Mapped[str] = mapped_column(String(400))
    payload: Mapped[dict[str, Any]]  # see jobs.night.self_check.self_check


class LotRow(Base):
    """One verdict on a lot with its evidence. Appended where anything that it rests on is new; never edited."""

    __tablename__ = "lots"
    __table_args__ = (UniqueConstraint("lot", "as_of", "digest"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    lot: Mapped[str] = mapped_column(String(120), index=True)
    as_of: Mapped[Day]  # night that appended it
    digest: Mapped[str] = mapped_column(String(64))
    run: Mapped[str] = mapped_column(String(64))
    payload: Mapped[dict[str, Any]]


class AlertRow(Base):
    """One alert in its present state: the sum of its events."""

    __tablename__ = "alerts"

    id: Mapped[str] = mapped_column(String(500), primary_key=True)  # site, or lot, and rule
    site: Mapped[str] = mapped_column(String(400), index=True)
    state: Mapped[str] = mapped_column(String(20), index=True)
    opened: Mapped[Day]
    payload: Mapped[dict[str, Any]]


class AlertEventRow(Base):
    """One change of an alert, by a night or by a person. Never edited and never deleted."""

    __tablename__ = "alert_events"
    __table_args__ = (UniqueConstraint("alert", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    alert: Mapped[str] = mapped_column(String(500))
    number: Mapped[int]  # from 1 for each alert
    kind: Mapped[str] = mapped_column(String(20))
    time: Mapped[str] = mapped_column(String(40))
    link: Mapped[str | None] = mapped_column(String(64), unique=True)  # answer link, used once; None: another way
    payload: Mapped[dict[str, Any]]


class PersonalLinkRow(Base):
    """One personal link of a manager. A revoked one is not deleted: answers name the link by which they came."""

    __tablename__ = "personal_links"

    link: Mapped[str] = mapped_column(String(16), primary_key=True)  # identifier: random, as that of an answer link
    channel: Mapped[str] = mapped_column(String(40))
    recipient: Mapped[str] = mapped_column(String(320))  # as in the outbox
    made: Mapped[str] = mapped_column(String(40))
    revoked: Mapped[str | None] = mapped_column(String(40))  # None: it is valid


class PhotoRow(Base):
    """One photo of an answer, as it was encoded again by this program."""

    __tablename__ = "photos"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)  # SHA-256 of the content
    alert: Mapped[str] = mapped_column(String(500), primary_key=True)
    number: Mapped[int]  # number of the event that it belongs to
    taken: Mapped[str | None] = mapped_column(String(40))  # time stated in the file, ISO 8601; None: not stated
    latitude: Mapped[float | None]  # position stated in the file [degree]
    longitude: Mapped[float | None]
    content: Mapped[bytes]  # JPEG


class ChainRow(Base):
    """One line of the chain of nights, see :class:`monitor.evidence.chain.Line`. Never edited and never deleted.

    The columns up to `hash` are the line; what follows says which rows of the ledger it covers. `leaves` is the last
    column, so that a query of the others does not read it.
    """

    __tablename__ = "chain"

    format: Mapped[int]
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    night: Mapped[Day]
    assessments: Mapped[int]
    answers: Mapped[int]
    promises: Mapped[int]
    root: Mapped[str] = mapped_column(String(64))
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))
    last_assessment: Mapped[int]  # highest id of the rows of assessments that this line and those before cover; 0: none
    last_event: Mapped[int]  # highest id of the events of alerts that this line and those before cover; 0: none
    last_promise: Mapped[int]  # highest id of the promises that this line and those before cover; 0: none
    leaves: Mapped[bytes]  # leaves of its tree, 32 bytes each, so that a proof needs no records but its own


class FieldRow(Base):
    """One measurement on the ground, as it was written in a file. Never edited and never deleted."""

    __tablename__ = "field_rows"

    id: Mapped[int] = mapped_column(primary_key=True)
    site: Mapped[str] = mapped_column(String(400), index=True)
    date: Mapped[Day]
    kind: Mapped[str] = mapped_column(String(20))  # `cover`, `survival` or `density`
    value: Mapped[float]  # fraction; for a density, plants a hectare
    n: Mapped[int]  # plots or plants behind the value
    lon: Mapped[float | None]
    lat: Mapped[float | None]  # WGS 84; None: not stated [degree]
    note: Mapped[str | None]
    digest: Mapped[str] = mapped_column(String(64), unique=True)  # hash of the content: the same row is stored once
    added: Mapped[str] = mapped_column(String(40))


class NoticeRow(Base):
    """One notice to one recipient in the outbox, written in the same transaction as the change that it reports.

    Notices with the same `message` are sent as one message.
    """

    __tablename__ = "outbox"
    __table_args__ = (UniqueConstraint("event", "channel", "recipient"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    event: Mapped[str] = mapped_column(String(600))  # such as id and number of an alert's event: reported once
    channel: Mapped[str] = mapped_column(String(40))
    recipient: Mapped[str] = mapped_column(String(320))  # mail address; empty for a channel with one receiver
    kind: Mapped[str] = mapped_column(String(20))
    day: Mapped[Day]
    site: Mapped[str | None] = mapped_column(String(400))
    alert: Mapped[str | None] = mapped_column(String(500), index=True)
    payload: Mapped[dict[str, Any]]
    link: Mapped[str] = mapped_column(String(16), unique=True)  # answer link: random, to fit in this ledger alone
    state: Mapped[str] = mapped_column(String(10), index=True)  # `waiting`, `held`, `sent`, `dead` or `withdrawn`
    message: Mapped[str | None] = mapped_column(String(64), index=True)  # id of the message; None: not tried yet
    attempts: Mapped[int] = mapped_column(default=0)
    first_tried: Mapped[str | None] = mapped_column(String(40))
    next_try: Mapped[str | None] = mapped_column(String(40))  # earliest time of the next attempt between nights
    lease: Mapped[str | None] = mapped_column(String(40))  # until when a sender, named by it, is at work; None: none
    sent: Mapped[str | None] = mapped_column(String(40))
    reported_day: Mapped[Day | None]  # day of the assessment in its message: later than `day` if it had to wait
    error: Mapped[str | None]  # why it waits, is held, died or was withdrawn; else what the receiver answered
