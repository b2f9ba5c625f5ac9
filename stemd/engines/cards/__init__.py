"""One process for a graphics card, that computes the segments of all jobs on it; workers only decode, add and write.

A worker is still one job, with its own limits, and may be killed alone. What it would give to its network goes to the
card's process (``host``) instead, over a socket and a piece of shared memory (``terms``). There segments of different
jobs are computed together (``gather``), always as many at once: what is missing is filled up with silence, so that a
segment's numbers do not depend on whose else were with it, and one captured graph fits all (``graphs``).
"""
