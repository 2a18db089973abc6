"""`make bench`: every benchmark, one after the other."""

from benchmarks import trends
from benchmarks.verdict import table

if __name__ == "__main__":
    trends.main()
    table.main(1000, 1)
