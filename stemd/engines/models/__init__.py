"""The model store: which models there are, where their files lie, whether they are whole, and how to get them.

A store is a folder with one folder per model: ``NAME/NAME.yaml`` (the bag: members, weights, segment),
``NAME/SIGNATURE.safetensors`` for each member, and ``NAME/stemd.json`` (sha256 of each file, source, time).
The model ``nano`` is part of this package. Nothing here imports numpy or torch.
"""

from stemd.engines.models.catalogue import BUILT_IN, Model
from stemd.engines.models.fetch import fetch
from stemd.engines.models.store import Bag, Entry, catalogue, find, present, read_bag, verify

__all__ = ["BUILT_IN", "Bag", "Entry", "Model", "catalogue", "fetch", "find", "present", "read_bag", "verify"]
