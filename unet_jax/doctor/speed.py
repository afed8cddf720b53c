"""Measures how many pixels of crops a machine trains on in a second."""

import time

import jax
import ml_collections
import numpy as np

from unet_jax import build, parallel
from unet_jax.doctor.checks import memory as memory_check
from unet_jax.doctor.survey import Survey
from unet_jax.training import memory, setup

STEPS = 5


def measure(survey: Survey, config: ml_collections.ConfigDict) -> float:
  """Compiles the training step, and times a few steps of blank crops.

  Args:
    survey: of the data.
    config: config of the run, whose image and batch size are measured.

  Returns:
    Pixels per second, over all devices.
  """
  config = config.copy_and_resolve_references()
  config.loss.class_weights = 'none'  # Class weights take no time.
  example = memory_check.read_example(survey)
  run = setup.make_run(config, memory_check.make_stats(survey, example))
  step = memory.lower(run, config, example).compile()
  batch = jax.tree.map(
    lambda x: jax.device_put(np.zeros(x.shape, x.dtype), x.sharding),
    build.abstract_batch(config, example),
  )
  state, _ = step(parallel.replicate(parallel.on_host(run.init)), batch)
  jax.block_until_ready(state)  # The first step also allocates memory.
  start = time.perf_counter()
  for _ in range(STEPS):
    state, _ = step(state, batch)
  jax.block_until_ready(state)
  seconds = (time.perf_counter() - start) / STEPS
  return config.batch_size * config.image_size**2 / seconds
