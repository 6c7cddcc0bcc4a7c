"""The native kernel from Python: statistics, regions, outlines."""
