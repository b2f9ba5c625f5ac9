"""The model store: which models there are, where their files lie, whether they are whole, and how to get them.

A store is a folder with one folder per model: ``NAME/NAME.yaml`` (the bag: members, weights, segment) and
``NAME/SIGNATURE.safetensors`` for each member, or the four files of a TensorFlow checkpoint; and ``NAME/stemd.json``
(sha256 of each file, source, licence, time). Names that begin with a dot are the store's own business.
The model ``nano`` is part of this package. Nothing here imports numpy or torch.
"""

from stemd.engines.models.bag import Bag, parse_bag, read_bag
from stemd.engines.models.catalogue import BUILT_IN, Model
from stemd.engines.models.download import Patience
from stemd.engines.models.fetch import fetch
from stemd.engines.models.kinds import KINDS
from stemd.engines.models.store import Entry, catalogue, facts, find, present, verify
from stemd.engines.models.supply import Supply

__all__ = [
    "BUILT_IN",
    "KINDS",
    "Bag",
    "Entry",
    "Model",
    "Patience",
    "Supply",
    "catalogue",
    "facts",
    "fetch",
    "find",
    "parse_bag",
    "present",
    "read_bag",
    "verify",
]
