"""Simulated active learning on a labeled data set: ``deal loop``.

``config`` holds the settings, ``pool`` makes a pool of the data set, ``checks`` finds errors before
any training, ``experiment`` does the runs and their rounds, ``learner`` is the training of one
round, ``table`` and ``statistics`` are the results.
"""
