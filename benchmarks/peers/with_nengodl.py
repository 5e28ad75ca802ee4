"""The network in NengoDL."""

import logging
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import nengo
import nengo_dl
import numpy as np
import tensorflow as tf
from worker import Task, Way, read_task, serve

logging.getLogger("tensorflow").setLevel(logging.ERROR)


def build(task: Task) -> tuple[nengo.Network, nengo.Node, nengo.Probe]:
    """NengoDL's own example, with trained weights."""

    def constants(name: str) -> dict[str, tf.keras.initializers.Initializer]:
        return {
            "kernel_initializer": tf.constant_initializer(task.weights[f"{name}_kernel"]),
            "bias_initializer": tf.constant_initializer(task.weights[f"{name}_bias"]),
        }

    neuron = nengo.LIF(amplitude=0.01, initial_state={"voltage": nengo.dists.Uniform(0, 1)})
    with nengo.Network(seed=0) as net:
        net.config[nengo.Ensemble].max_rates = nengo.dists.Choice([100])
        net.config[nengo.Ensemble].intercepts = nengo.dists.Choice([0])
        net.config[nengo.Connection].synapse = None
        nengo_dl.configure_settings(stateful=False, inference_only=True)
        image = signal = nengo.Node(np.zeros(28 * 28))
        shape: tuple[int, ...] = (28, 28, 1)
        for name, filters in (("conv1", 32), ("conv2", 64), ("conv3", 128)):
            signal = nengo_dl.Layer(tf.keras.layers.Conv2D(filters, 3, **constants(name)))(signal, shape_in=shape)
            signal = nengo_dl.Layer(neuron)(signal)
            shape = (shape[0] - 2, shape[1] - 2, filters)
            if name != "conv1":
                signal = nengo_dl.Layer(tf.keras.layers.AveragePooling2D(2, 2))(signal, shape_in=shape)
                shape = (shape[0] // 2, shape[1] // 2, filters)
        output = nengo_dl.Layer(tf.keras.layers.Dense(10, **constants("dense")))(signal)
        return net, image, nengo.Probe(output, synapse=0.1)


def way(task: Task, batch: int, unrolled: int) -> Way:
    """Images in batches of one size, several steps in one round of the loop; spikes are not counted."""
    net, image, probe = build(task)
    simulator = nengo_dl.Simulator(net, minibatch_size=batch, unroll_simulation=unrolled, progress_bar=False)

    def run(images: np.ndarray) -> tuple[np.ndarray, float]:
        shown = np.tile(images.reshape(len(images), 1, -1), (1, task.steps, 1))
        return simulator.predict({image: shown})[probe][:, -1], float("nan")

    return run


task = read_task()
choices = [(50, 1), (100, 1), (50, 5), (100, 5)]
serve(task, {f"batches of {batch}, unrolled {unrolled}": way(task, batch, unrolled) for batch, unrolled in choices})
