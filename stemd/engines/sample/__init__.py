"""A small original song whose stems are known: made by arithmetic, for demonstrations and tests.

``python -m stemd.engines.sample make DIR`` writes it, ``… score STEMS TRUTH`` measures a separation of it.
"""
