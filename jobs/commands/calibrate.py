"""``regrowth calibrate``: the constants of the verdict, set on control ground. No network."""

from jobs.runtime.console import AsJson, Config, count_of, show
from jobs.runtime.kernel_cache import choose_cache


def calibrate(config: Config = None, as_json: AsJson = False) -> None:
    """Set the constants of the verdict on control ground where that is due, and show the constants in force.

    Safe to run twice: constants stay in force until the next growing season is over. A night does the same, one set at
    a time. Exit status: 0 done, 65 there is no site, 75 another run is at work, or the clock is behind the newest run.
    """
    from jobs.runtime.settings import load

    settings = load(config)
    choose_cache(settings.store.local)
    from jobs.register.calibration import calibrate_due, calibration_json
    from jobs.runtime.clock import check_clock, today
    from jobs.runtime.installation import locked_ledger, selected_sites

    with locked_ledger(settings, "a calibration") as ledger:
        check_clock(ledger)
        constants = calibrate_due(settings, ledger, selected_sites(ledger), as_of=today(), most=None)
    pools = [calibration_json(pool, constants) for pool in sorted(constants.members)]
    lines = []
    for pool in pools:
        placebos = f"{count_of(pool['placebos'], 'placebo')}, weight {pool['weight']:.2f}"
        behind = placebos if pool["placebos"] else "no placebos yet"
        name = f"{pool['tile']} {pool['biome']}, {count_of(pool['sites'], 'site')}"
        lines.append(f"{name}: {pool['source']}; {behind} ({pool['hash'][:12]})")
        for row in pool["table"] if pool["placebos"] else ():
            lines.append(f"  {row['constant']:<20} {row['calibrated']:>9g}  default {row['default']:g}")
    show(pools, lines, as_json=as_json)
