"""Benchmarks: Voxtra beside a minimal client that sends the same requests, in the same run.

`python -m bench --help` from the root of the repository; docs/explanation/performance.md says what
is measured against what.
"""
