"""How often the verdict is right, wrong, late, on sites with a known fate; beside it, what others would have said.

python -m benchmarks.verdict            # 1,000 sites a line, five seeds
python -m benchmarks.verdict --quick    # a tenth of it, no rivals on real noise; what `make bench` runs
"""

import argparse

from benchmarks.verdict import proof, trials

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="Few sites, two seeds: a smoke test with figures.")
    parser.add_argument("--sites", type=int, default=1000, help="Simulated sites a line and seed.")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(trials.SEEDS), help="Seeds that are scored.")
    options = parser.parse_args()
    proof.main(quick=options.quick, sites=options.sites, seeds=tuple(options.seeds))
