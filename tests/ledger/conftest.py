"""Ledgers in SQLite, and in a PostgreSQL server of its own."""

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from monitor.ledger.ledger import Ledger
from tests.loopback.postgresql import missing, server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Callable[..., str]]:
    """Makes URLs of fresh databases."""
    if why := missing():
        pytest.skip(why)
    with server() as fresh:
        yield fresh


@pytest.fixture(scope="session")
def migrated(postgresql: Callable[..., str]) -> str:
    """Name of a database that has the tables: copied, it is ready sooner."""
    from sqlalchemy.engine import make_url

    url = postgresql()
    Ledger(url).close()
    return str(make_url(url).database)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'regrowth.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request, url):
    """URL of a ledger of each kind."""
    if request.param == "sqlite":
        return url
    return request.getfixturevalue("postgresql")(template=request.getfixturevalue("migrated"))


@pytest.fixture
def ledger(either):
    with closing(Ledger(either)) as opened:
        yield opened


@pytest.fixture
def ledgers(either):
    """The same ledger, opened by a night and by a person."""
    with closing(Ledger(either)) as night, closing(Ledger(either)) as person:
        yield night, person


@pytest.fixture
def in_sqlite(url):
    with closing(Ledger(url)) as opened:
        yield opened
