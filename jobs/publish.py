"""Pages, maps and tables from stored data; no network. Safe to run again: unchanged files are not rewritten.

python -m jobs.publish
"""

import typer

from jobs.runtime.console import AsJson, Config, show, start
from jobs.runtime.exits import Exit
from jobs.runtime.kernel_cache import choose_cache


def publish(config: Config = None, as_json: AsJson = False) -> None:
    """Pages, maps and tables from stored data; no network."""
    from jobs.runtime.settings import load

    settings = load(config)
    choose_cache(settings.store.local)
    from jobs.pages.publishing import publish_once

    outcomes, sites = publish_once(settings)
    broken = {site: error for site, error in outcomes.items() if error}
    written = sorted(set(outcomes) - set(broken))
    lines = [f"{site_id}: not written; {error}" for site_id, error in broken.items()]
    count = "1 site" if len(written) == 1 else f"{len(written)} sites"
    lines.append(f"{count} rewritten; open {settings.outputs.root / 'index.html'}")
    show({"rewritten": written, "failed": broken, "root": str(settings.outputs.root)}, lines, as_json=as_json)
    if broken:
        raise typer.Exit(Exit.SOME_FAILED if len(broken) < sites else Exit.ALL_FAILED)


if __name__ == "__main__":
    start(publish)
