"""The graphs of Spleeter's networks, written for the host: ``graph.py FOLDER MODEL…`` writes each to ``FOLDER/MODEL``.

Run by the Python of Spleeter's own environment, once for each model. Only this program imports TensorFlow's and
Spleeter's Python as a whole: they take half a gigabyte and three seconds, and a host that has the graph needs neither.
In goes ``magnitudes`` (blocks × T × F × 2), out comes ``estimates`` (stems × T × F × 2, of the first block); running
``save/restore_all`` with a checkpoint's path in ``save/Const`` restores the weights. Keep to Python 3.8.
"""

import ctypes
import hashlib
import os
import signal
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import tensorflow as tf


def build(model: str) -> bytes:
    """The serialised graph (``GraphDef``), as it is when nothing is trained."""
    from spleeter.model import EstimatorSpecBuilder
    from spleeter.utils.configuration import load_configuration

    params = load_configuration("spleeter:" + model)
    with tf.Graph().as_default() as graph:
        tf.keras.backend.set_learning_phase(0)
        shape = (None, params["T"], params["F"], params["n_channels"])
        magnitudes = tf.compat.v1.placeholder(tf.float32, shape, name="magnitudes")
        outputs = EstimatorSpecBuilder({"mix_spectrogram": magnitudes, "mix_stft": None}, params).model_outputs
        tf.stack([outputs[stem + "_spectrogram"][0] for stem in params["instrument_list"]], name="estimates")
        saver = tf.compat.v1.train.Saver().as_saver_def()
        names = {saver.restore_op_name, saver.filename_tensor_name.partition(":")[0]}
        if names != {"save/restore_all", "save/Const"}:
            raise ValueError("the host would not find " + ", ".join(sorted(names)))
        needed = ["estimates", saver.restore_op_name]
        found = tf.compat.v1.graph_util.extract_sub_graph(graph.as_graph_def(), needed)
        return bytes(found.SerializeToString(deterministic=True))


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    for name in sys.argv[2:]:
        made = build(name)
        with open(os.path.join(sys.argv[1], name), "wb") as file:
            file.write(hashlib.sha256(made).digest() + made)
