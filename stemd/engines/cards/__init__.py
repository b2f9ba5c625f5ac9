"""A process that computes for all workers of a model on a graphics card; they only decode, add up and write.

A worker is still one job, and may be killed alone. What it would give to its network goes to that process instead
(``card``, ``host``), over a socket and a piece of shared memory (``terms``). There segments are computed in groups, of
several jobs where one does not fill it (``gather``, ``computing``), always as many: what is missing is filled up
with silence, so a segment's numbers do not depend on whose else were with it, and one captured graph fits all
(``graphs``).
"""
