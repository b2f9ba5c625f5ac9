"""What is learnt: waves and spectra near the truth, a clear signal over the rest, silence where nothing plays, and that
the stems add up to the mixture."""

from __future__ import annotations

from dataclasses import dataclass

import torch

_WINDOWS = (4096, 1024, 256)
_QUIET, _SILENT_RMS = 1e-3, 1e-4
_TARGET_DB = 50.0
"""How far below the mixture an absent stem has to be until it costs no more."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Of the terms: time, spectrum, signal to distortion (a dB counts a hundredth), absent stems (likewise), and what
    the stems together lack of the mixture, or have too much (as time does)."""

    wave: float = 1.0
    spectrum: float = 0.5
    distortion: float = 1.0
    absent: float = 1.0
    rest: float = 0.0


def loss(
    estimate: torch.Tensor, truth: torch.Tensor, weights: Weights | None = None, step: int | None = None
) -> tuple[torch.Tensor, dict[str, float]]:
    """One number for a batch (batch × stems × channels × frames), and its terms for the log.

    All terms are relative to the level of the mixture, so quiet songs count as much as loud ones. With a ``step`` the
    windows of the spectrum take turns: each is seen every third time, and a step costs an eighth less.
    """
    windows = _WINDOWS if step is None else (_WINDOWS[step % len(_WINDOWS)],)
    weights, mixture = weights or Weights(), truth.sum(1)
    level = mixture.abs().mean((1, 2)).clamp(min=_QUIET)
    wave = ((estimate - truth).abs().mean((1, 2, 3)) / level).mean()
    spectrum = torch.stack([_spectral(estimate, truth, mixture, window) for window in windows]).mean()
    sounding = truth.square().mean((2, 3)).sqrt() > _SILENT_RMS
    distortion = _distortion(estimate, truth, sounding)
    absent = _absent(estimate, mixture, ~sounding)
    rest = ((estimate.sum(1) - mixture).abs().mean((1, 2)) / level).mean()
    total = weights.wave * wave + weights.spectrum * spectrum + weights.rest * rest
    total = total + 0.01 * (weights.distortion * distortion + weights.absent * absent)
    terms = {"wave": wave, "spectrum": spectrum, "distortion": distortion, "absent": absent, "rest": rest}
    return total, {name: float(value.detach()) for name, value in terms.items()}


def _spectral(estimate: torch.Tensor, truth: torch.Tensor, mixture: torch.Tensor, window: int) -> torch.Tensor:
    """L1 of magnitudes, and of their roots, so that quiet parts count too."""
    shape = torch.hann_window(window, device=estimate.device)

    def magnitude(x: torch.Tensor) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])
        z = torch.stft(flat, window, window // 2, window=shape, return_complex=True, normalized=True)
        return (z.real.square() + z.imag.square() + 1e-9).sqrt().reshape(x.shape[0], -1)

    found, wanted = magnitude(estimate), magnitude(truth)
    level = magnitude(mixture).mean(1).clamp(min=1e-4)
    plain = ((found - wanted).abs().mean(1) / level).mean()
    roots = ((found.sqrt() - wanted.sqrt()).abs().mean(1) / level.sqrt()).mean()
    return plain + 0.5 * roots


def _distortion(estimate: torch.Tensor, truth: torch.Tensor, sounding: torch.Tensor) -> torch.Tensor:
    """Minus the SI-SDR in dB, bounded at both ends, over the stems that sound."""
    found, wanted = estimate.flatten(2), truth.flatten(2)
    scale = (found * wanted).sum(2, keepdim=True) / wanted.square().sum(2, keepdim=True).clamp(min=1e-8)
    target = scale * wanted
    rest = (found - target).square().sum(2)
    signal = target.square().sum(2)
    ratio = 10 * torch.log10((signal + 1e-3 * rest + 1e-8) / (rest + 1e-3 * signal + 1e-8))
    return -(ratio * sounding).sum() / sounding.sum().clamp(min=1)


def _absent(estimate: torch.Tensor, mixture: torch.Tensor, absent: torch.Tensor) -> torch.Tensor:
    """By how many dB absent stems are louder than they may be, over all stems."""
    level = mixture.square().mean((1, 2)).clamp(min=_QUIET**2).unsqueeze(1)
    power = estimate.square().mean((2, 3)) / level
    over = 10 * torch.log10(power + 10 ** (-_TARGET_DB / 10)) + _TARGET_DB
    return (over * absent).sum() / max(1, absent.numel())
