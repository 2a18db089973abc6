"""`make bench`: every benchmark, one after the other."""

from benchmarks import programme, sources, trends
from benchmarks.verdict import proof

if __name__ == "__main__":
    trends.main()
    programme.main()
    sources.main()
    proof.main(quick=True)
