"""Steps timed beside other libraries: `xpnet bench`, for anyone to run again.

Every contestant runs in a process of its own and they take turns, so that none has another's
threads or memory in its way and a noisy machine slows all of them. What counts is the ratio of
times within a round.
"""
