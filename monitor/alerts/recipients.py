"""Who receives the messages about a site."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from monitor.sites.site import Site

FILES: Final = "files"
"""Name of the channel that writes messages to files, which every installation has."""


def split_addresses(text: str) -> list[str]:
    """Mail addresses, separated by commas or semicolons, Chinese ones too.

    >>> split_addresses("li@example.org, wang@example.org；ops@example.org;")
    ['li@example.org', 'wang@example.org', 'ops@example.org']
    """
    return [address.strip() for address in re.split("[,;，；]", text) if address.strip()]


class Recipient(NamedTuple):
    """One receiver of messages."""

    channel: str
    """Name of a configured channel, or :data:`FILES`."""
    address: str
    """Mail address; empty for a channel that has one receiver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressBook:
    """The configured channels, and which of them are used for whom."""

    kinds: Mapping[str, str]
    """Kind of each configured channel by its name: ``smtp``, ``wecom``, ``dingtalk``, ``feishu``, ``webhook`` or
    ``apprise``."""
    default: Sequence[str] = ()
    """Names of the channels of managers whose site names none."""
    operators: Sequence[str] = ()
    """Names of the channels of the operators."""
    operators_email: str = ""
    """Mail addresses of the operators; see :func:`split_addresses`."""

    def of_site(self, site: Site) -> list[Recipient]:
        """Recipients of the messages about a site: its manager, else the operators, else files."""
        return self.of_manager(site) or self.of_operators() or [Recipient(FILES, "")]

    def of_manager(self, site: Site) -> list[Recipient]:
        """Recipients of the manager of a site; may be empty.

        A channel of kind ``smtp`` reaches a manager only with an address. A manager of a site that names an unknown
        channel cannot be reached.
        """
        names = [site.manager_channel] if site.manager_channel else self.default
        return self._reached(names, site.manager_email or "")

    def managers(self, sites: Iterable[Site]) -> dict[Recipient, list[Site]]:
        """Each manager who can be reached, with those of some sites that reach them."""
        managers: dict[Recipient, list[Site]] = {}
        for site in sites:
            for recipient in self.of_manager(site):
                managers.setdefault(recipient, []).append(site)
        return managers

    def of_operators(self) -> list[Recipient]:
        """Recipients of the messages to the operators; may be empty."""
        return self._reached(self.operators, self.operators_email)

    def _reached(self, names: Sequence[str], emails: str) -> list[Recipient]:
        addresses = split_addresses(emails)
        reached: list[Recipient] = []
        for name in names:
            if name in self.kinds:
                to = addresses if self.kinds[name] == "smtp" else [""]
                reached += [Recipient(name, address) for address in to]
        return list(dict.fromkeys(reached))
