"""``stemd bench``: stemd and the ``demucs`` command side by side, on this machine, with the same weights."""
