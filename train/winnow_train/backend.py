"""Keras and its backend, imported when a command needs them and without their greetings."""

from __future__ import annotations

import os

from winnow_base.console import quiet_stderr
from winnow_base.errors import MissingExtraError


def quiet_backend(threads: int) -> None:
    """Import Keras and its backend, without TensorFlow's greetings, on so many cores."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with quiet_stderr():
            import keras

            backend = keras.backend.backend()
            if backend == "tensorflow":
                import tensorflow as tf

                if threads:
                    tf.config.threading.set_intra_op_parallelism_threads(threads)
                    tf.config.threading.set_inter_op_parallelism_threads(2)
                # The first operation makes the device, with more greetings.
                keras.ops.zeros(1)
            elif backend == "torch" and threads:
                import torch

                torch.set_num_threads(threads)
    except ImportError as error:
        raise MissingExtraError(
            f"{error.name or 'keras'} is not installed", hint="pip install 'winnow-ground[train]'"
        ) from error
