"""Spleeter: its engine here, and the host that runs in Spleeter's own environment (``host.py``)."""
