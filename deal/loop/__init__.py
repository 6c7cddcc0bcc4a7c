"""Simulated active learning on a labeled data set: ``deal loop``.

``config`` is what is asked for, ``pool`` the data set as a pool, ``checks`` what is refused before
any training, ``experiment`` the runs and their rounds, ``learner`` the training of one round,
``table`` and ``statistics`` what comes out.
"""
