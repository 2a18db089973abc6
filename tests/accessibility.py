"""What axe finds on a page."""

from typing import Any


def violations(axe: Any, tab: Any) -> list[tuple[str, list[str]]]:
    """Rules that a page breaks, and where: all rules in light mode, those on colours in dark mode."""
    found = axe.run(tab).response["violations"]
    tab.emulate_media(color_scheme="dark")
    found += axe.run(tab, options={"runOnly": ["color-contrast"]}).response["violations"]
    tab.emulate_media(color_scheme="light")
    return [(one["id"], [node["html"][:120] for node in one["nodes"][:3]]) for one in found]
