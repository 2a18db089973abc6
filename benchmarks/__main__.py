"""`make bench`: every benchmark, one after the other."""

from benchmarks import fetch, ground, messages, night, publish, sources, trends
from benchmarks.verdict import proof

if __name__ == "__main__":
    trends.main()
    night.main()
    publish.main()
    sources.main()
    fetch.main()
    messages.main()
    ground.main()
    proof.main(quick=True)
