"""The models stemd knows by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_FOUR = ("drums", "bass", "other", "vocals")


@dataclass(frozen=True, slots=True)
class Model:
    """What is known of a model before it is loaded. ``repository`` is on Hugging Face (``None``: in this package)."""

    name: str
    engine: str
    stems: tuple[str, ...]
    sample_rate: int
    licence: str
    repository: str | None
    members: int


def _demucs(name: str, repository: str | None, members: int = 1, stems: tuple[str, ...] = _FOUR) -> Model:
    return Model(name, "demucs", stems, 44_100, "MIT", repository, members)


BUILT_IN: Mapping[str, Model] = {
    model.name: model
    for model in (
        _demucs("htdemucs", "adefossez/HTDemucs"),
        _demucs("htdemucs_ft", "adefossez/HTDemucs-ft", 4),
        _demucs("htdemucs_6s", "adefossez/HTDemucs-6s", 1, (*_FOUR, "guitar", "piano")),
        _demucs("hdemucs_mmi", "adefossez/Demucs-hdemucs_mmi"),
        _demucs("mdx", "adefossez/Demucs-mdx", 4),
        _demucs("mdx_extra", "adefossez/Demucs-mdx_extra", 4),
        _demucs("mdx_extra_q", "adefossez/Demucs-mdx_extra_q", 4),
        _demucs("nano", None),
    )
}
