"""How often the verdict is right, wrong, late, on sites with a known truth.

python -m benchmarks.verdict                    # one page, under a quarter of an hour on two cores
python -m benchmarks.verdict --quick            # a tenth of it; what `make bench` runs
python -m benchmarks.verdict --only third       # the lines of one world, on a training seed; nothing is written
"""

import argparse

from benchmarks.verdict import proof
from benchmarks.verdict.conditions import CONDITIONS, TRAINING

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="Few sites, two seeds: a smoke test with figures.")
    parser.add_argument("--only", choices=list(CONDITIONS), help="Print the lines of one world.")
    parser.add_argument("--sites", type=int, default=100, help="With --only: sites a line and seed.")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(TRAINING[:1]), help="With --only: seeds.")
    options = parser.parse_args()
    if options.only:
        proof.only(options.only, sites=options.sites, seeds=tuple(options.seeds))
    else:
        proof.main(quick=options.quick)
