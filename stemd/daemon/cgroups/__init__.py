"""Control groups: a leaf for each worker, where a part of the hierarchy was given to stemd. Nowhere else.

``find`` says whether there is such a part; ``v2`` and ``v1`` make leaves in it. What a leaf's limits are is the
governor's business.
"""
