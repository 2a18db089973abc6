"""Sites by province: the lists that a browser without scripts shows."""

from collections.abc import Sequence
from itertools import batched
from typing import Final, NamedTuple

from monitor.publish.index.programme_view import SiteRow
from monitor.sites.names import comparable_id, folder_name

MAX_ON_INDEX: Final = 50
"""Sites that the index lists without its script; with more, each province has its pages."""
MAX_ON_PAGE: Final = 1000
"""Sites on one page of a province, at most: about half a megabyte."""


class Province(NamedTuple):
    """The sites of one province, worst first."""

    name: str | None
    """None: the registry does not say."""
    rows: Sequence[SiteRow]

    @property
    def folder(self) -> str:
        """Name of the folder of its pages; no province's name gives that of the sites without one."""
        return "~none" if self.name is None else folder_name(comparable_id(self.name))

    def level(self, level: str) -> int:
        """Number of sites with an alert of a level."""
        return sum(row.alert is not None and row.alert.level == level for row in self.rows)

    @property
    def pages(self) -> list[tuple[SiteRow, ...]]:
        """Rows of each page."""
        return list(batched(self.rows, MAX_ON_PAGE))


def by_province(rows: Sequence[SiteRow]) -> list[Province]:
    """Sites by province, by name and those without one last; names that differ in case or form only are one."""
    groups: dict[str, list[SiteRow]] = {}
    for row in rows:
        groups.setdefault("" if row.province is None else comparable_id(row.province), []).append(row)
    provinces = [Province(members[0].province, members) for _, members in sorted(groups.items())]
    return sorted(provinces, key=lambda province: province.name is None)


def page_file(number: int, language: str) -> str:
    """File name of a page of a province, counted from 0."""
    stem = "index" if number == 0 else f"page-{number + 1}"
    return f"{stem}{'.zh' if language == 'zh' else ''}.html"
