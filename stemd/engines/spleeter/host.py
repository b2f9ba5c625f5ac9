"""Spleeter's networks, served over a pipe: run by the Python of Spleeter's own environment, not by stemd's.

Keep to Python 3.8 and to what that environment has (spleeter, tensorflow, numpy, norbert); nothing of stemd is there.
The graph is built once, the weights are restored once. Each request and each answer is a line of JSON, followed by
``bytes`` bytes of little-endian float32 frames where there are any::

    {"op": "load", "model", "folder", "exponent", "extension"}  →  {"stems", "sample_rate"}
    {"op": "separate", "start", "stop", "stems", "bytes"} + audio  →  {"bytes"} + stems × frames × channels
    {"op": "wiener", "start", "stop", "stems", "bytes"} + audio  →  the same, after multichannel Wiener filtering
    {"op": "versions"}  →  {"python", "spleeter", "tensorflow", "numpy"}

or ``{"error", "kind": "memory" | "bug" | "model"}``. ``host.py --check`` builds a network, tries it, and prints the
versions. ``audio`` is a window of the track that begins one STFT frame before a block of ``T`` frames does; the
stems of its frames ``start`` to ``stop`` come back.

The numbers are those of ``spleeter.separator.Separator`` on the whole track: it cuts the STFT (frames of 4096, steps
of 1024, periodic Hann window, a frame of zeros before the track) into blocks of T = 512 frames that its networks see
one by one, so that any run of whole blocks gives the same masks; only the inverse STFT needs the frames next to them.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import platform
import signal
import sys
from importlib.metadata import version
from typing import IO, Any, Dict, Optional, Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import numpy as np
import tensorflow as tf

FRAME, STEP, BLOCK = 4096, 1024, 512
#: Half a Hann window squared, four times overlapped, sums to 3/2.
_COMPENSATION = 2.0 / 3.0


class Network:
    """One configuration of Spleeter with its weights. ``folder=None``: random weights, for a check."""

    def __init__(self, model: str, folder: Optional[str], exponent: float, extension: str) -> None:
        from spleeter.model import EstimatorSpecBuilder
        from spleeter.utils.configuration import load_configuration

        params = dict(load_configuration("spleeter:" + model), separation_exponent=exponent, mask_extension=extension)
        if (params["T"], params["frame_length"], params["frame_step"], params["n_channels"]) != (BLOCK, FRAME, STEP, 2):
            raise ValueError("not a configuration of the kind this host knows: " + model)
        self.params, self.stems = params, list(params["instrument_list"])
        self._memory: Dict[bytes, Any] = {}
        graph = tf.Graph()
        with graph.as_default():
            self._stft_of = tf.compat.v1.placeholder(tf.complex64, (None, FRAME // 2 + 1, 2))
            builder = EstimatorSpecBuilder({"mix_stft": self._stft_of}, params)
            masked = builder.masked_stfts
            self._masked = tf.stack([masked[stem] for stem in self.stems])
            spectrograms = builder.model_outputs
            self._spectrograms = tf.stack([spectrograms[stem + "_spectrogram"][0] for stem in self.stems])
            self._wave = tf.compat.v1.placeholder(tf.float32, (None, 2))
            self._stft = tf.transpose(
                tf.signal.stft(tf.transpose(self._wave), FRAME, STEP, window_fn=_window), perm=[1, 2, 0]
            )
            self._spectrum = tf.compat.v1.placeholder(tf.complex64, (None, FRAME // 2 + 1, 2))
            inverse = tf.signal.inverse_stft(
                tf.transpose(self._spectrum, perm=[2, 0, 1]), FRAME, STEP, window_fn=_window
            )
            self._inverse = tf.transpose(inverse * _COMPENSATION)
            threads = int(os.environ.get("OMP_NUM_THREADS", "0"))
            config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=1)
            self._session = tf.compat.v1.Session(graph=graph, config=config)
            if folder is None:
                self._session.run(tf.compat.v1.global_variables_initializer())
            else:
                tf.compat.v1.train.Saver().restore(self._session, os.path.join(folder, "model"))

    def _run(self, what: Any, **feed: Any) -> Any:
        places = {"stft": self._stft_of, "wave": self._wave, "spectrum": self._spectrum}
        return self._session.run(what, {places[name]: value for name, value in feed.items()})

    def separate(self, audio: Any, start: int, stop: int, wanted: Sequence[str]) -> Any:
        """The stems ``wanted`` of the frames ``start`` to ``stop`` of the window ``audio``, by ratio masks."""
        blocks = -(-(len(audio) - FRAME + STEP) // (STEP * BLOCK))
        audio = _padded(audio, blocks * STEP * BLOCK + FRAME - STEP)
        first, last = max(0, -(-(start - FRAME + 1) // STEP)), min((stop - 1) // STEP + 1, blocks * BLOCK)
        out = np.zeros((len(wanted), stop - start, 2), np.float32)
        parts = [self._masked_block(audio, number) for number in range(blocks)]
        if all(part is None for part in parts):
            return out
        for index, stem in enumerate(wanted):
            number = self.stems.index(stem)
            spectrum = np.concatenate([_part(part, number) for part in parts])[first:last]
            wave = self._run(self._inverse, spectrum=spectrum)[start - first * STEP :][: stop - start]
            out[index, : len(wave)] = wave
        return out

    def _masked_block(self, audio: Any, number: int) -> Any:
        """Masked STFTs of one block: stems × T × bins × channels, ``None`` for silence; the last one is remembered."""
        at = number * BLOCK * STEP
        cut = audio[at : at + BLOCK * STEP + FRAME - STEP]
        if not cut.any():
            return None
        key = hashlib.sha256(cut.tobytes()).digest()
        if key not in self._memory:
            value = self._run(self._masked, stft=self._run(self._stft, wave=cut))
            self._memory[key] = value
            self._memory = {key: value}
            return value
        return self._memory[key]

    def wiener(self, audio: Any, start: int, stop: int, wanted: Sequence[str]) -> Any:
        """The same by multichannel Wiener filtering over the whole window (norbert's defaults, as Spleeter's)."""
        import norbert

        frames = -(-(len(audio) - FRAME) // STEP)
        spectrum = self._run(self._stft, wave=_padded(audio, (frames - 1) * STEP + FRAME))
        bins = self.params["F"]
        estimates = np.zeros((frames, FRAME // 2 + 1, 2, len(self.stems)), np.float32)
        for at in range(0, frames, BLOCK):
            found = self._run(self._spectrograms, stft=spectrum[at : at + BLOCK])
            estimates[at : at + BLOCK, :bins] = np.moveaxis(found, 0, -1)[: frames - at]
        filtered = norbert.wiener(estimates, spectrum)
        out = np.zeros((len(wanted), stop - start, 2), np.float32)
        for index, stem in enumerate(wanted):
            whole = filtered[..., self.stems.index(stem)].astype(np.complex64)
            wave = self._run(self._inverse, spectrum=whole)[start:stop]
            out[index, : len(wave)] = wave
        return out


def _window(length: int, dtype: Any) -> Any:
    return tf.signal.hann_window(length, periodic=True, dtype=dtype)


def _part(block: Any, number: int) -> Any:
    return np.zeros((BLOCK, FRAME // 2 + 1, 2), np.complex64) if block is None else block[number]


def _padded(audio: Any, frames: int) -> Any:
    """``audio`` with zeros behind it, or less of it: ``frames`` frames."""
    return np.concatenate([audio, np.zeros((max(0, frames - len(audio)), 2), np.float32)])[:frames]


def versions() -> Dict[str, str]:
    """What this environment has, as it says itself."""
    found = {name: version(name) for name in ("spleeter", "tensorflow", "numpy", "norbert")}
    return dict(found, python=platform.python_version())


def check() -> Dict[str, str]:
    """Build the smallest network and run one block through it."""
    network = Network("2stems", None, 2, "zeros")
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
        data = requests.read(request.get("bytes", 0))
        if len(data) < request.get("bytes", 0):
            return
        out = b""
        answer: Dict[str, Any]
        try:
            if request["op"] == "versions":
                answer = versions()
            elif request["op"] == "load":
                network = None
                network = Network(request["model"], request["folder"], request["exponent"], request["extension"])
                answer = {
                    "stems": network.stems,
                    "sample_rate": network.params["sample_rate"],
                    "f": network.params["F"],
                }
            else:
                audio = np.frombuffer(data, "<f4").reshape(-1, 2)
                work = network.wiener if request["op"] == "wiener" else network.separate
                out = work(audio, request["start"], request["stop"], request["stems"]).astype("<f4").tobytes()
                answer = {"bytes": len(out)}
        except (MemoryError, tf.errors.ResourceExhaustedError) as error:
            answer = {"error": str(error)[:500] or "memory ran out", "kind": "memory"}
        except (tf.errors.NotFoundError, tf.errors.InvalidArgumentError, tf.errors.DataLossError) as error:
            answer = {"error": str(error)[:500], "kind": "model" if request["op"] == "load" else "bug"}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {str(error)[:500]}", "kind": "bug"}
        answers.write(json.dumps(answer).encode() + b"\n" + out)
        answers.flush()


def _die_with_parent() -> None:
    parent = os.getppid()
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def main() -> None:
    own = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    tf.compat.v1.logging.set_verbosity("ERROR")
    if sys.argv[1:] == ["--check"]:
        own.write(json.dumps(check()).encode() + b"\n")
        return
    _die_with_parent()
    serve(sys.stdin.buffer, own)


if __name__ == "__main__":
    main()
