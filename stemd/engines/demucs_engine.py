"""Demucs (``demucs`` ≥ 4.1) behind stemd's seam: HTDemucs, HDemucs, Demucs, and bags of them."""

from __future__ import annotations

import gc
import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from demucs.apply import BagOfModels
from demucs.demucs import Demucs
from demucs.hdemucs import HDemucs
from demucs.hf import load_safetensors_model
from demucs.htdemucs import HTDemucs
from safetensors import SafetensorError, safe_open

from stemd.core.errors import StemdError
from stemd.engines import models
from stemd.engines.base import Lane, ModelInfo, Scaling, TrackStats
from stemd.engines.cards.card import Card
from stemd.engines.cards.terms import sizes
from stemd.engines.demucs_options import LEAST_SEGMENT, DemucsOptions, parse_options
from stemd.engines.exported.core import memory
from stemd.engines.memory import give_back
from stemd.engines.torch_faults import denormals_flushed, is_memory, memory_errors
from stemd.engines.tuning.demucs_tuner import tune
from stemd.engines.tuning.openvino_tuner import consider
from stemd.engines.tuning.ways import Way, in_force

if TYPE_CHECKING:
    from stemd.engines.base import Frames
    from stemd.engines.exported.runtime import Cores

#: What a weights file may make when it is loaded: its metadata names the class, so it must not name just any.
_CLASSES = frozenset({"demucs.htdemucs.HTDemucs", "demucs.hdemucs.HDemucs", "demucs.demucs.Demucs"})
_LEAST_DEVIATION = 1e-8
#: Bytes: of torch and Python; and for each channel and second of a segment, with a spectrogram and without.
_LIBRARIES, _SPECTRAL, _WAVEFORM = 320 << 20, 2.1 * (1 << 20), 1.3 * (1 << 20)


class DemucsEngine:
    """The engine ``demucs``; see ``stemd.engines.base.Engine``."""

    name = "demucs"

    def __init__(self) -> None:
        self._bag: Any = None
        self._device = torch.device("cpu")
        self._options = DemucsOptions()
        self._sha256, self._way = "", Way()
        self._error_db: float | None = None
        self._runtime, self._unused = "auto", ""
        self._members: set[int] = set()
        self._cores: Cores | None = None
        self._card: Card | None = None
        self._on_card: Mapping[str, Any] = {}

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def way(self) -> Way:
        """How the networks are computed."""
        return self._way

    @property
    def stems(self) -> int:
        """How many the loaded model gives."""
        return len(self._bag.sources)

    def network(self, member: int) -> Any:
        return self._bag.models[member]

    @staticmethod
    def fingerprint(model: str, store: Path) -> str:
        """The hash that stands for the model as it lies in the store now."""
        return _fingerprint(models.verify(model, store))

    @property
    def version(self) -> str:
        return version("demucs")

    def compute_on(self, address: Path) -> None:
        self._card = Card(address)

    def load(self, model: str, store: Path, device: str) -> ModelInfo:
        """Check the model's files against their recorded sha256, load them, and put the networks on ``device``.

        Raises:
            StemdError: STEMD-M001 to M004, STEMD-E002 (a quantised model needs ``diffq``), STEMD-E004 (no such
                device), STEMD-E006 (the card's process cannot be reached), STEMD-R001.
        """
        self._device = torch.device("cpu") if self._card else _device(device)
        hashes = models.verify(model, store)
        folder = models.find(model, store)
        bag = models.read_bag(folder)
        weights = [list(row) for row in bag.weights] if bag.weights else None
        with memory_errors():
            networks = [_load(folder / f"{member}.safetensors") for member in bag.members]
            try:
                self._bag = BagOfModels(networks, weights, bag.segment).eval().to(self._device)
            except (AssertionError, IndexError) as error:
                raise StemdError("STEMD-M004", f"the members of {model} do not fit together") from error
        if self._bag.audio_channels != 2:
            raise StemdError("STEMD-M004", f"{model} is for {self._bag.audio_channels} channels; stemd gives it 2")
        longest = self._bag.max_allowed_segment
        self._sha256, self._way = _fingerprint(hashes), Way()
        if self._card is not None:
            self._meet(self._card, device)
        return ModelInfo(
            name=model,
            stems=tuple(self._bag.sources),
            sample_rate=int(self._bag.samplerate),
            channels=2,
            sha256=self._sha256,
            max_segment=None if longest == float("inf") else float(longest),
        )

    def _meet(self, card: Card, device: str) -> None:
        """Leave the networks to the card's process, if it has a card; without one they are computed here."""
        told = card.greet(self._sha256, len(self._bag.sources))
        if "none" in told:
            card.close()
            self._card, self._device = None, _device(device)
            self._bag.to(self._device)
            return
        self._on_card = told["ready"]
        self._device = torch.device(self._on_card["device"].partition(":")[0])
        self._give_up_weights()

    def _give_up_weights(self) -> None:
        self._bag.to("meta")
        gc.collect()
        give_back()

    def prefer_runtime(self, name: str) -> None:
        self._runtime = name

    def tune(self, precision: str, folder: Path | None) -> Mapping[str, Any]:
        """Try what is faster here with the loaded networks, and use it from now on; see ``base.Tunable``.

        Where OpenVINO computes, the networks give up their own weights; only ``load`` brings them back.
        """
        networks = self._bag.models
        if self._card is not None:
            self._way, self._error_db = Way.of(self._on_card["way"]), self._on_card["error_db"]
            return self._on_card
        with memory_errors(), denormals_flushed():
            found: Mapping[str, Any] = tune(networks, self._device, precision, self._sha256, folder)
            asked = (precision, self._runtime)
            found, self._cores = consider(found, networks, self._device, asked, self._sha256, folder)
        self._way, self._error_db = Way.of(found["way"]), found["error_db"]
        self._unused = found["openvino"] if self._runtime == "openvino" and self._cores is None else ""
        if self._cores is not None:
            self._give_up_weights()
        return found

    def use_threads(self, count: int) -> None:
        torch.set_num_threads(count)

    def ease(self, options: Mapping[str, Any], level: int) -> Mapping[str, Any]:
        """One segment at a time, each half as long as before; HTDemucs always computes its whole length."""
        eased = {**options, "batch": 1}
        if not all(isinstance(network, HTDemucs) for network in self._bag.models):
            longest = min(float(network.segment) for network in self._bag.models)
            eased["segment"] = max(LEAST_SEGMENT, float(options.get("segment") or longest) / 2**level)
        return eased

    def lanes(self, options: Mapping[str, Any], stems: Sequence[str]) -> tuple[Lane, ...]:
        """One lane for each member of the bag that counts for one of ``stems``, times the number of shifts.

        The offsets of shifts come from ``seed`` and are drawn for all members, so they are the same for any ``stems``.
        """
        longest = self._bag.max_allowed_segment
        together = self._card.together if self._card else None
        self._options = chosen = parse_options(options, float(longest), self._device.type, together)
        draw = random.Random(chosen.seed)  # noqa: S311 - repeatable on purpose
        rate, furthest = self._bag.samplerate, int(0.5 * self._bag.samplerate)
        lanes = []
        for index, (network, row) in enumerate(zip(self._bag.models, self._bag.weights, strict=True)):
            leads = [furthest - draw.randint(0, furthest) for _ in range(chosen.shifts)] or [0]
            weights = {stem: w for stem, w in zip(self._bag.sources, row, strict=True) if w and stem in stems}
            seconds = chosen.segment if chosen.segment is not None else network.segment
            length = int(rate * seconds)
            stride = max(1, int((1 - chosen.overlap) * length))
            lanes += [Lane(index, length, stride, lead, weights) for lead in leads if weights]
        self._members = {lane.member for lane in lanes}
        return tuple(lanes)

    def memory(self, stats: TrackStats) -> int:
        """The libraries, the weights, and what the widest network computes with: an upper estimate.

        Measured on a CPU in float32, for each channel of a network and each second of each segment of a batch: 1.6 to
        2.0 MiB with a spectrogram (HTDemucs, HDemucs), 1.1 to 1.25 without (Demucs).
        """
        networks, seconds = self._bag.models, stats.frames / self._bag.samplerate
        weights = sum(each.numel() * each.element_size() for network in networks for each in network.parameters())
        widest = max(
            (_WAVEFORM if isinstance(each, Demucs) else _SPECTRAL)
            * each.channels
            * min(float(self._options.segment or each.segment), seconds)
            for each in networks
        )
        computing = widest * self._options.batch if self._device.type == "cpu" else 0  # else it lies on the device
        if self._cores is not None:
            computing = memory(networks, self._members)
        if self._card is not None:
            longest = max(float(self._options.segment or each.segment) for each in networks)
            computing = sum(sizes(self._options.batch, self.stems, 2, int(longest * self._bag.samplerate)))
        return int(_LIBRARIES + weights + computing)

    def begin(self, stats: TrackStats) -> Scaling:
        """Demucs sees the track less its mean and divided by its deviation."""
        if self._card is not None:
            self._card.begin()
        return Scaling(stats.mean, stats.std + _LEAST_DEVIATION)

    def window(self, lane: Lane, frames: int) -> int:
        network = self._bag.models[lane.member]
        if isinstance(network, HTDemucs) and self._options.segment is not None:
            return lane.segment
        if isinstance(network, HDemucs) and not network.hybrid:
            return max(frames, int(network.nfft) // 2 + 1)  # its STFT reflects so much at both ends
        return int(network.valid_length(frames)) if hasattr(network, "valid_length") else frames

    def separate_segments(self, lane: Lane, batch: Frames) -> Mapping[str, Frames]:
        """``batch`` is segments × frames × channels, already scaled.

        Raises:
            StemdError: STEMD-R001.
        """
        with memory_errors(), denormals_flushed(), torch.inference_mode():
            answer = self._answer(lane.member, torch.from_numpy(np.ascontiguousarray(batch.transpose(0, 2, 1)))).numpy()
        return {
            stem: answer[:, index].transpose(0, 2, 1)
            for index, stem in enumerate(self._bag.sources)
            if stem in lane.weights
        }

    def _answer(self, member: int, mix: torch.Tensor) -> torch.Tensor:
        """What a network gives for ``mix`` (segments × channels × frames), wherever it is computed."""
        if self._card is not None:
            return self._card.answer(member, mix)
        if self._cores is not None:
            with in_force(self._way, self._bag.models[member]):
                return self._cores.answer(member, mix, self._way)
        if self._device.type == "cuda":
            mix = mix.pin_memory()  # the card fetches it by itself
        return self.compute(member, mix).cpu()

    def compute(self, member: int, mix: torch.Tensor) -> torch.Tensor:
        """What a network gives for ``mix`` (segments × channels × frames), in float32, on the engine's device."""
        network = self._bag.models[member]
        with in_force(self._way, network):
            answer: torch.Tensor = network(mix.to(self._device, non_blocking=True)).float()
        return answer

    def usual_frames(self) -> list[int]:
        """Of each network, the frames of a segment of usual length."""
        lanes = self.lanes({}, self._bag.sources)
        windows = {lane.member: self.window(lane, lane.segment) for lane in lanes}
        return [windows.get(member, 0) for member in range(len(self._bag.models))]

    def notes(self, stats: TrackStats) -> Sequence[str]:
        way, warned = self._way, []
        if way.reduced:
            warned.append(f"{way.what} was computed in {way.transformer}: {self._error_db:g} dB of error here")
        if self._unused:
            warned.append(f"OpenVINO was asked for and not used: {self._unused}")
        return tuple(warned)

    def facts(self) -> Mapping[str, Any]:
        return {
            "device": self._device.type,
            **self._way.facts(),
            **(self._card.facts() if self._card else {"threads": torch.get_num_threads()}),
            "torch": str(torch.__version__),
            **self._options.facts(),
        }

    def close(self) -> None:
        for elsewhere in (self._cores, self._card):
            if elsewhere is not None:
                elsewhere.close()
        self._bag = self._cores = None
        if self._device.type == "cuda" and self._card is None:
            torch.cuda.empty_cache()


def _device(asked: str) -> torch.device:
    """``cuda`` is the first card; ``cuda:1`` the second."""
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    there = [f"cuda:{number}" for number in range(cards)]
    there += ["mps", "cpu"] if torch.backends.mps.is_available() else ["cpu"]
    if asked == "auto":
        return torch.device(there[0].partition(":")[0])
    if asked not in (*there, *(["cuda"] if cards else [])):
        raise StemdError("STEMD-E004", f"device {asked!r} is not on this machine; it has {', '.join(there)}")
    return torch.device(asked)


def _load(path: Path) -> Any:
    """One network from safetensors, in float32; refuses files that name anything but a Demucs network.

    Raises:
        StemdError: STEMD-M004, STEMD-E002.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
        if metadata.get("klass") not in _CLASSES or not _is_plain(metadata.get("structure")):
            raise StemdError("STEMD-M004", f"{path.name} does not name a Demucs network")
        return load_safetensors_model(path).float().eval()
    except (ImportError, SystemExit) as error:
        raise StemdError("STEMD-E002", f"{path.name} is quantised and needs the package diffq") from error
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise StemdError("STEMD-M004", f"{path.name}: {error}") from error
    except RuntimeError as error:
        if is_memory(error):
            raise
        raise StemdError("STEMD-M004", f"{path.name}: its weights do not fit its network") from error


def _is_plain(structure: str | None) -> bool:
    """Whether the classes named in a quantised state are those of the quantiser."""

    def plain(node: Any) -> bool:
        if isinstance(node, dict):
            named = str(node.get("_class", "diffq."))
            return named.startswith("diffq.") and all(plain(each) for each in node.values())
        return all(plain(each) for each in node) if isinstance(node, list) else True

    return structure is None or plain(json.loads(structure))


def _fingerprint(hashes: Mapping[str, str]) -> str:
    """The hash that stands for the model: that of its one weights file, or one over all its files' hashes."""
    weights = [each for name, each in hashes.items() if name.endswith(".safetensors")]
    return weights[0] if len(weights) == 1 else hashlib.sha256("\n".join(hashes.values()).encode()).hexdigest()
