"""Send what waits and die by SIGKILL once the n-th message is delivered and not yet marked: a helper of test_outbox."""

import os
import signal
import sys
from pathlib import Path

from jobs.messages import outbox
from jobs.runtime.installation import open_ledger
from jobs.runtime.settings import load

if __name__ == "__main__":
    settings, count = load(Path(sys.argv[1])), int(sys.argv[2])
    store, calls = outbox._Sender._store, []

    def dying(*arguments: object) -> None:
        calls.append(1)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        store(*arguments)

    outbox._Sender._store = dying
    with open_ledger(settings) as ledger:
        outbox.send(settings, ledger)
