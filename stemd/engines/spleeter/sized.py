"""A checkpoint of one of Spleeter's networks with random weights, to measure with where the real one is not.

``sized.py MODEL FOLDER``, run by the Python of Spleeter's own environment. Speed and memory do not depend on what the
weights are; what it separates is noise. Keep to Python 3.8.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import tensorflow as tf

_SEED = 7


def write(model: str, folder: str) -> None:
    """Write ``FOLDER/model.*`` in the form and size that training leaves them in."""
    from spleeter.model import EstimatorSpecBuilder, InputProviderFactory
    from spleeter.utils.configuration import load_configuration

    params = load_configuration("spleeter:" + model)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.set_random_seed(_SEED)
        tf.compat.v1.train.create_global_step()
        features = InputProviderFactory.get(params).get_input_dict_placeholders()
        if not EstimatorSpecBuilder(features, params).outputs:
            raise ValueError(model)
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver(save_relative_paths=True).save(session, folder + "/model")


if __name__ == "__main__":
    write(sys.argv[1], sys.argv[2])
