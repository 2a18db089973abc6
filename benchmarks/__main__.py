"""`make bench`: every benchmark, one after the other."""

from benchmarks import fetch, programme, sources, trends
from benchmarks.verdict import proof

if __name__ == "__main__":
    trends.main()
    programme.main()
    sources.main()
    fetch.main()
    proof.main(quick=True)
