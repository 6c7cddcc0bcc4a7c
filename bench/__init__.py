"""Benchmarks of deal, installed as ``deal.bench`` and run as ``deal bench QUESTION``.

One module a question, each with ``run(…) -> Report``: correctness is checked before anything is
timed, peers run in the same process run, interleaved, and ratios are taken round by round.
"""
