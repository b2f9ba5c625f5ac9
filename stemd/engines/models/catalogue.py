"""The models stemd knows by name: what they give, who published them where, and under which terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_FOUR = ("drums", "bass", "other", "vocals")
_SPLEETER = {
    2: ("vocals", "accompaniment"),
    4: ("vocals", "drums", "bass", "other"),
    5: ("vocals", "piano", "drums", "bass", "other"),
}

_HUB = "https://huggingface.co"
_GITHUB = "https://github.com"
_MDX_PAPER = "https://arxiv.org/abs/2111.03600"
_HT_PAPER = "https://arxiv.org/abs/2211.08553"
_SPLEETER_PAPER = "https://doi.org/10.21105/joss.02154"

_DEMUCS_TERMS = (
    "MIT on the weights' own page (2026); in 2022 and 2023 their author wrote that the weights are for research, "
    "not under the code's MIT licence (facebookresearch/demucs, issues 327 and 508)."
)
_SPLEETER_TERMS = (
    "MIT for code and pre-trained models (the JOSS paper); the repository's README names the code only "
    "(deezer/spleeter, issue 959)."
)
_NANO_TERMS = (
    "MIT, as stemd; trained on music made for it, in part with the FluidR3 GM and MuseScore General soundfonts (MIT), "
    "and on three songs whose makers gave them away (CC0); see its model card."
)


@dataclass(frozen=True, slots=True)
class Model:
    """What is known of a model before it is loaded.

    Its files are ``HOME/PATH/FILE``; ``home`` is ``None`` for what is in this package, ``repository`` the part of
    ``path`` that names who published it. ``weights`` is the folder of the store that holds them: models that differ in
    settings only share one. ``size`` is what is downloaded, in bytes, approximately (``None``: not established).
    ``members`` is the number of networks. ``licence`` is the publisher's word, ``terms`` all that is known of it.
    """

    name: str
    engine: str
    stems: tuple[str, ...]
    sample_rate: int
    licence: str
    repository: str | None
    members: int
    weights: str
    home: str | None
    path: str
    publisher: str
    page: str
    paper: str | None
    size: int | None
    terms: str


def _demucs(
    name: str, repository: str, paper: str, size: int | None, members: int = 1, stems: tuple[str, ...] = _FOUR
) -> Model:
    path, page = f"{repository}/resolve/main", f"{_HUB}/{repository}"
    publisher = "Alexandre Défossez (made at Meta AI)"
    return Model(
        name, "demucs", stems, 44_100, "MIT", repository, members, name, _HUB, path, publisher, page, paper, size,
        _DEMUCS_TERMS,
    )  # fmt: skip


def _spleeter(stems: int, size: int, variant: str = "") -> Model:
    weights, repository = f"{stems}stems", "deezer/spleeter"
    page = f"{_GITHUB}/{repository}/releases/tag/v1.4.0"
    return Model(
        weights + variant, "spleeter", _SPLEETER[stems], 44_100, "MIT", repository, 1, weights, _GITHUB,
        f"{repository}/releases/download/v1.4.0", "Deezer Research", page, _SPLEETER_PAPER, size, _SPLEETER_TERMS,
    )  # fmt: skip


_NANO = Model(
    "nano", "demucs", _FOUR, 44_100, "MIT", None, 1, "nano", None, "", "The stemd authors", "in the package", None,
    6_863_164, _NANO_TERMS,
)  # fmt: skip

#: Sizes of Spleeter's archives.
_ARCHIVES = {2: 73_109_797, 4: 146_800_000, 5: 182_500_000}

BUILT_IN: Mapping[str, Model] = {
    model.name: model
    for model in (
        _demucs("htdemucs", "adefossez/HTDemucs", _HT_PAPER, 84_025_440),
        _demucs("htdemucs_ft", "adefossez/HTDemucs-ft", _HT_PAPER, 4 * 84_025_440, 4),
        _demucs("htdemucs_6s", "adefossez/HTDemucs-6s", _HT_PAPER, 54_885_744, 1, (*_FOUR, "guitar", "piano")),
        _demucs("hdemucs_mmi", "adefossez/Demucs-hdemucs_mmi", _MDX_PAPER, 167_400_000),
        _demucs("mdx", "adefossez/Demucs-mdx", _MDX_PAPER, 691_000_000, 4),
        _demucs("mdx_extra", "adefossez/Demucs-mdx_extra", _MDX_PAPER, 669_600_000, 4),
        _demucs("mdx_extra_q", "adefossez/Demucs-mdx_extra_q", _MDX_PAPER, None, 4),
        _NANO,
        *(_spleeter(stems, size, variant) for variant in ("", "-16kHz") for stems, size in _ARCHIVES.items()),
    )
}
