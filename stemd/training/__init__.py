"""How the bundled model ``nano`` is made: songs composed at random, rendered as stems, learnt from, scored.

Run as ``python -m stemd.training COMMAND``; docs/training.md is the guide. Needs ``stemd[train]``. Nothing of the
service imports this package.
"""
