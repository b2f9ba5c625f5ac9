"""Spleeter itself, run by the Python of its environment: makes checkpoints in its format, and separates as it does.

``spleeter_program.py checkpoint MODEL FOLDER SEED`` writes random weights; ``… separate MODEL STORE OPTIONS IN.npy
OUT.npz [IN OUT]…`` is ``spleeter.separator.Separator`` on the whole of each IN (frames × channels); OPTIONS
are stemd's, as JSON. Keep to Python 3.8.
"""

import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import numpy as np
import tensorflow as tf


def checkpoint(model, folder, seed):
    """Weights as training leaves them in form and size: every variable drawn anew, step counter included."""
    from spleeter.model import EstimatorSpecBuilder, InputProviderFactory
    from spleeter.utils.configuration import load_configuration

    params = load_configuration("spleeter:" + model)
    draw = np.random.RandomState(int(seed))
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.set_random_seed(int(seed))
        tf.compat.v1.train.create_global_step()
        features = InputProviderFactory.get(params).get_input_dict_placeholders()
        assert EstimatorSpecBuilder(features, params).outputs
        session.run(tf.compat.v1.global_variables_initializer())
        norms = [each for each in tf.compat.v1.global_variables() if "batch_normalization" in each.name]
        drawn = {}
        for variable in norms:
            low, high = (0.5, 1.5) if "variance" in variable.name or "gamma" in variable.name else (-0.2, 0.2)
            drawn[variable.initializer.inputs[1]] = draw.uniform(low, high, variable.shape).astype("float32")
        session.run([variable.initializer for variable in norms], drawn)
        tf.compat.v1.train.Saver(save_relative_paths=True).save(session, os.path.join(folder, "model"))


def separate(model, store, options, *files):
    os.environ["MODEL_PATH"] = store
    from spleeter.separator import Separator

    chosen = json.loads(options)
    separator = Separator("spleeter:" + model, MWF=chosen.get("mwf", False), multiprocess=False)
    separator._params["separation_exponent"] = chosen.get("exponent", 2)
    separator._params["mask_extension"] = chosen.get("extension", "zeros")
    for source, target in zip(files[::2], files[1::2]):
        np.savez(target, **separator.separate(np.load(source)))


if __name__ == "__main__":
    {"checkpoint": checkpoint, "separate": separate}[sys.argv[1]](*sys.argv[2:])
