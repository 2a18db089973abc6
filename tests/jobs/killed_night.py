"""Run one night and die by SIGKILL at the n-th call of a function, before or after it: a helper of test_nightly."""

import importlib
import os
import signal
import sys
from datetime import date
from pathlib import Path
from typing import Any


def die_at(where: str, count: int, *, after: bool) -> None:
    """Replace a function by one that counts its calls and dies at the given one."""
    module, *owner, name = where.split(":")
    target = importlib.import_module(module)
    for part in owner:
        target = getattr(target, part)
    original = getattr(target, name)
    calls = 0

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        mine = calls == count
        if mine and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **options)
        if mine:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(target, name, counted)


if __name__ == "__main__":
    config, day, where, count, after = sys.argv[1:]
    die_at(where, int(count), after=after == "True")

    import icechunk

    from jobs.pipeline import night
    from jobs.settings import load

    icechunk.set_logs_filter("error")
    night(load(Path(config)), as_of=date.fromisoformat(day))
