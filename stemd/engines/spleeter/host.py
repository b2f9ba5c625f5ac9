"""Spleeter's networks, served over a pipe: run by the Python of Spleeter's own environment, not by stemd's.

Keep to Python 3.8 and to what that environment has (spleeter, tensorflow, numpy, scipy, norbert); nothing of stemd is
there. The graph is read once, the weights are restored once. Each request and each answer is a line of JSON, followed
by ``bytes`` bytes of little-endian float32 frames where there are any::

    {"op": "load", "model", "folder"}  →  {"stems", "sample_rate"}
    {"op": "separate", "start", "stop", "stems", "exponent", "extension", "bytes"} + audio
        →  {"bytes"} + stems × frames × channels
    {"op": "wiener", "start", "stop", "stems", "bytes"} + audio  →  the same, after multichannel Wiener filtering
    {"op": "versions"}  →  {"python", "spleeter", "tensorflow", "numpy"}

or ``{"error", "kind": "memory" | "bug" | "model"}``. ``host.py --check`` makes the graphs, tries one with random
weights, and prints the versions. ``audio`` is a window of the track that begins one STFT frame before a block of ``T``
frames does; the stems of its frames ``start`` to ``stop`` come back.

The numbers are those of ``spleeter.separator.Separator`` on the whole track: it cuts the STFT (frames of 4096, steps
of 1024, periodic Hann window, a frame of zeros before the track) into blocks of T = 512 frames that its networks see
one by one, so that any run of whole blocks gives the same masks; only the inverse STFT needs the frames next to them.

Of TensorFlow only the session is imported, and the STFT is scipy's: so it is ready in one second instead of four, takes
half the memory, and an inverse STFT a tenth of the time.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import types
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import version
from typing import IO, Any, Callable, Dict, Optional, Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"


def _without_what_it_imports(name: str, folder: str) -> None:
    """Let modules below the package ``name`` be imported, but not the hundreds that its ``__init__`` asks for."""
    package = types.ModuleType(name)
    package.__path__ = [folder]
    sys.modules[name] = package


_spec = importlib.util.find_spec("tensorflow")
assert _spec is not None and _spec.submodule_search_locations
_tensorflow = next(iter(_spec.submodule_search_locations))
_without_what_it_imports("tensorflow", _tensorflow)
_without_what_it_imports("tensorflow.python", os.path.join(_tensorflow, "python"))

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.protobuf.config_pb2 import ConfigProto
from tensorflow.python import pywrap_tensorflow  # noqa: F401  the library itself, before all that needs it
from tensorflow.python.client.session import Session
from tensorflow.python.framework import errors, ops
from tensorflow.python.framework.importer import import_graph_def

FRAME, STEP, BLOCK = 4096, 1024, 512
BINS = FRAME // 2 + 1
#: Samples that one block's frames reach over.
SPAN = BLOCK * STEP + FRAME - STEP
#: Half a Hann window squared, four times overlapped, sums to 3/2.
_COMPENSATION = 2.0 / 3.0
_EPSILON = np.float32(1e-10)
#: STFT frames transformed at a time: what a core's cache holds.
_PIECE = 32
_MODELS = ("2stems", "4stems", "5stems", "2stems-16kHz", "4stems-16kHz", "5stems-16kHz")
_GRAPH, _SIZED = (os.path.join(os.path.dirname(os.path.abspath(__file__)), name) for name in ("graph.py", "sized.py"))
_THREADS = int(os.environ.get("OMP_NUM_THREADS", "0")) or os.cpu_count() or 1


class Spectra:
    """STFT and its inverse as ``tf.signal`` computes them, on all threads. Signals are channels × samples."""

    def __init__(self) -> None:
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)
        self._window, self._synthesis = window.astype("<f4"), (window * _COMPENSATION).astype("<f4")
        self._pool = ThreadPoolExecutor(_THREADS)

    def each(self, work: Callable[..., None], *arguments: Sequence[Any]) -> None:
        """``work`` of all ``arguments`` side by side; numpy and scipy let other threads go on."""
        list(self._pool.map(work, *arguments))

    def of(self, audio: Any, frames: int) -> Any:
        """Samples × channels to channels × ``frames`` × BINS; ``audio`` is as long as they need."""
        signals = np.ascontiguousarray(audio.T)
        found = np.empty((len(signals), frames, BINS), np.complex64)

        def transform(first: int) -> None:
            cut = signals[:, first * STEP : (min(frames, first + _PIECE) - 1) * STEP + FRAME]
            pieces = sliding_window_view(cut, FRAME, axis=1)[:, ::STEP]
            found[:, first : first + _PIECE] = scipy.fft.rfft(pieces * self._window, overwrite_x=True)

        self.each(transform, range(0, frames, _PIECE))
        return found

    def add_inverse(self, spectrum: Any, first: int, signal_: Any) -> None:
        """Add what ``spectrum`` (frames × up to BINS) sounds like to one channel, from its frame ``first`` on."""
        count = len(spectrum)
        waves = scipy.fft.irfft(spectrum, FRAME, overwrite_x=True)
        waves *= self._synthesis
        steps, parts = signal_.reshape(-1, STEP), waves.reshape(count, -1, STEP)
        for number in range(FRAME // STEP):
            steps[first + number : first + number + count] += parts[:, number]


class Network:
    """One configuration of Spleeter with the weights in ``folder``."""

    def __init__(self, model: str, folder: str) -> None:
        from spleeter.utils.configuration import load_configuration

        params = load_configuration("spleeter:" + model)
        if (params["T"], params["frame_length"], params["frame_step"], params["n_channels"]) != (BLOCK, FRAME, STEP, 2):
            raise ValueError("not a configuration of the kind this host knows: " + model)
        self.params, self.stems, self._bins = params, list(params["instrument_list"]), int(params["F"])
        self._memory: Dict[Any, Any] = {}
        self._spectra = Spectra()
        description, graph = GraphDef.FromString(graph_of(model)), ops.Graph()
        with graph.as_default():
            import_graph_def(description, name="")
        config = ConfigProto(intra_op_parallelism_threads=_THREADS, inter_op_parallelism_threads=1)
        self._session = Session(graph=graph, config=config)
        self._session.run("save/restore_all", {"save/Const:0": os.path.join(folder, "model")})

    def separate(
        self, audio: Any, start: int, stop: int, wanted: Sequence[str], exponent: float = 2, extension: str = "zeros"
    ) -> Any:
        """The stems ``wanted`` of the frames ``start`` to ``stop`` of the window ``audio``, by ratio masks."""
        size = BLOCK * STEP
        blocks = -(-(len(audio) - FRAME + STEP) // size)
        audio = _padded(audio, blocks * size + FRAME - STEP)
        out = np.zeros((len(wanted), stop - start, 2), "<f4")
        for at in range(0, blocks * size, size):
            begin, end = max(start, at), min(stop, at + SPAN)
            if begin < end and audio[at : at + SPAN].any():
                waves = self._of_block(audio[at : at + SPAN], wanted, exponent, extension)
                out[:, begin - start : end - start] += waves[:, :, begin - at : end - at].transpose(0, 2, 1)
        return out

    def _of_block(self, audio: Any, wanted: Sequence[str], exponent: float, extension: str) -> Any:
        """What the frames of one block sound like: stems × channels × SPAN; that of the last one is remembered."""
        key = (hashlib.sha256(np.ascontiguousarray(audio).data).digest(), tuple(wanted), exponent, extension)
        if key not in self._memory:
            spectrum = self._spectra.of(audio, BLOCK)
            masks = self._masks(self._estimates(spectrum), exponent)
            waves = np.zeros((len(wanted), 2, SPAN), "<f4")

            def sound(index: int, channel: int) -> None:
                of_stem = masks[self.stems.index(wanted[index])]
                for first in range(0, BLOCK, _PIECE):
                    mask, mixed = of_stem[first : first + _PIECE, :, channel], spectrum[channel, first : first + _PIECE]
                    masked = mixed[:, : self._bins] * mask
                    if extension == "average":
                        rest = mixed[:, self._bins :] * mask.mean(axis=1, keepdims=True)
                        masked = np.concatenate([masked, rest], axis=1)
                    self._spectra.add_inverse(masked, first, waves[index, channel])

            self._spectra.each(sound, *zip(*((index, channel) for index in range(len(wanted)) for channel in (0, 1))))
            self._memory = {key: waves}
        return self._memory[key]

    def _estimates(self, spectrum: Any) -> Any:
        """What the networks hear of each stem in up to one block: stems × T × F × channels."""
        magnitudes = np.zeros((1, BLOCK, self._bins, 2), np.float32)

        def take(first: int) -> None:
            piece = spectrum[:, first : first + _PIECE, : self._bins]
            magnitudes[0, first : first + piece.shape[1]] = np.abs(piece).transpose(1, 2, 0)

        self._spectra.each(take, range(0, spectrum.shape[1], _PIECE))
        return self._session.run("estimates:0", {"magnitudes:0": magnitudes})

    def _masks(self, estimates: Any, exponent: float) -> Any:
        """Each stem's share of all, as ``EstimatorSpecBuilder`` has it."""
        masks = np.empty_like(estimates)

        def divide(first: int) -> None:
            powers = np.power(estimates[:, first : first + _PIECE], np.float32(exponent))
            total = powers.sum(axis=0) + _EPSILON
            powers += _EPSILON / np.float32(len(self.stems))
            np.divide(powers, total, out=masks[:, first : first + _PIECE])

        self._spectra.each(divide, range(0, BLOCK, _PIECE))
        return masks

    def wiener(self, audio: Any, start: int, stop: int, wanted: Sequence[str]) -> Any:
        """The same by multichannel Wiener filtering over the whole window (norbert's defaults, as Spleeter's)."""
        import norbert

        frames = -(-(len(audio) - FRAME) // STEP)
        spectrum = self._spectra.of(_padded(audio, (frames - 1) * STEP + FRAME), frames)
        estimates = np.zeros((frames, BINS, 2, len(self.stems)), np.float32)
        for at in range(0, frames, BLOCK):
            found = self._estimates(spectrum[:, at : at + BLOCK])
            estimates[at : at + BLOCK, : self._bins] = np.moveaxis(found, 0, -1)[: frames - at]
        filtered = norbert.wiener(estimates, np.ascontiguousarray(spectrum.transpose(1, 2, 0)))
        out = np.zeros((len(wanted), stop - start, 2), "<f4")

        def sound(channel: int) -> None:
            for index, stem in enumerate(wanted):
                whole, wave = filtered[:, :, channel, self.stems.index(stem)], np.zeros((frames + 3) * STEP, "<f4")
                for first in range(0, frames, _PIECE):
                    self._spectra.add_inverse(whole[first : first + _PIECE].astype(np.complex64), first, wave)
                out[index, : len(wave[start:stop]), channel] = wave[start:stop]

        self._spectra.each(sound, (0, 1))
        return out


def _padded(audio: Any, frames: int) -> Any:
    """``audio`` with zeros behind it, or less of it: ``frames`` frames."""
    if len(audio) >= frames:
        return audio[:frames]
    return np.concatenate([audio, np.zeros((frames - len(audio), 2), np.float32)])


def graph_of(model: str) -> bytes:
    """The serialised graph of ``model``: kept in the environment, made by ``graph.py`` where it is not there."""
    return _whole(_place(model)) or _made([model])[model]


def _place(model: str) -> str:
    """Where a graph is kept: with all that it depends on in its name."""
    with open(_GRAPH, "rb") as file:
        program = hashlib.sha256(file.read()).hexdigest()[:12]
    name = "-".join([model, version("spleeter"), version("tensorflow"), program]) + ".pb"
    return os.path.join(sys.prefix, "stemd-graphs", name)


def _made(models: Sequence[str]) -> Dict[str, bytes]:
    graphs = {}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-I", "-B", _GRAPH, folder, *models]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == -signal.SIGKILL:
            raise MemoryError("the program that makes the graph was killed")
        for model in models:
            found = _whole(os.path.join(folder, model))
            if found is None:
                last = (done.stderr.strip().splitlines() or ["no word"])[-1]
                raise ValueError("its graph cannot be made, status {}: {}".format(done.returncode, last))
            graphs[model] = found
            with suppress(OSError):  # an environment that cannot be written to: made anew each time
                _keep(_place(model), found)
    return graphs


def _whole(path: str) -> Optional[bytes]:
    """What is in the file behind the sha256 of it; ``None`` where it is not there or damaged."""
    try:
        with open(path, "rb") as file:
            digest, found = file.read(32), file.read()
    except OSError:
        return None
    return found if hashlib.sha256(found).digest() == digest else None


def _keep(path: str, found: bytes) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    descriptor, part = tempfile.mkstemp(dir=os.path.dirname(path))
    with os.fdopen(descriptor, "wb") as file:
        file.write(hashlib.sha256(found).digest() + found)
    os.chmod(part, 0o644)
    os.rename(part, path)


def versions() -> Dict[str, str]:
    """What this environment has, as it says itself."""
    found = {name: version(name) for name in ("spleeter", "tensorflow", "numpy", "norbert")}
    return dict(found, python=platform.python_version())


def check() -> Dict[str, str]:
    """Make the graphs of all networks, and run one block through the smallest."""
    _made([model for model in _MODELS if _whole(_place(model)) is None])
    with tempfile.TemporaryDirectory() as folder:
        subprocess.check_call([sys.executable, "-I", "-B", _SIZED, _MODELS[0], folder])
        network = Network(_MODELS[0], folder)
    noise = np.random.RandomState(0).uniform(-1, 1, (2 * BLOCK * STEP + FRAME - STEP, 2)).astype(np.float32)
    found = network.separate(noise, FRAME, FRAME + 1000, network.stems)
    if not np.isfinite(found).all() or not found.any():
        raise ValueError("the network gives no numbers")
    return versions()


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer until the other side is gone."""
    network: Any = None
    for line in requests:
        request = json.loads(line)
        operation, size = request.pop("op"), request.pop("bytes", 0)
        data = requests.read(size)
        if len(data) < size:
            return
        out: Any = b""
        answer: Dict[str, Any]
        try:
            if operation == "versions":
                answer = versions()
            elif operation == "load":
                network = None
                network = Network(request["model"], request["folder"])
                answer = {"stems": network.stems, "sample_rate": network.params["sample_rate"]}
            else:
                request["wanted"] = request.pop("stems")
                work = network.wiener if operation == "wiener" else network.separate
                out = memoryview(work(np.frombuffer(data, "<f4").reshape(-1, 2), **request)).cast("B")
                answer = {"bytes": len(out)}
        except (MemoryError, errors.ResourceExhaustedError) as error:
            answer = {"error": str(error)[:500] or "memory ran out", "kind": "memory"}
        except (errors.NotFoundError, errors.InvalidArgumentError, errors.DataLossError) as error:
            answer = {"error": str(error)[:500], "kind": "model" if operation == "load" else "bug"}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {str(error)[:500]}", "kind": "bug"}
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.write(out)
        answers.flush()


def _die_with_parent() -> None:
    parent = os.getppid()
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def main() -> None:
    own = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    if sys.argv[1:] == ["--check"]:
        own.write(json.dumps(check()).encode() + b"\n")
        return
    _die_with_parent()
    serve(sys.stdin.buffer, own)


if __name__ == "__main__":
    main()
