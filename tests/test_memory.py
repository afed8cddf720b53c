"""The memory of a step comes from its program; a step too large is refused."""

import numpy as np
import pytest

from unet_jax import errors
from unet_jax.data import sources
from unet_jax.training import memory, setup

STATS = sources.Stats(('a',), (128.0,) * 3, (64.0,) * 3)
EXAMPLE = dict(
  image=np.zeros((40, 50, 3), np.uint8), label=np.zeros((40, 50), np.uint8)
)


@pytest.fixture
def config(load_config):
  config = load_config('binary:tiny', batch_size=4, image_size=32)
  config.model.depth = 1
  return config


@pytest.fixture
def limit(monkeypatch):
  def set_limit(num_bytes):
    monkeypatch.setattr(memory, 'device_bytes', lambda: num_bytes)

  return set_limit


def make_dataset():
  source = sources.Source(['x'], {'x': EXAMPLE}.get, {'x': EXAMPLE})
  return sources.Dataset({'train': source}, STATS)


def test_memory_grows_with_the_batch(config):
  config.loss.class_weights = 'inverse'
  small = memory.step_bytes(config, STATS, EXAMPLE)
  config.batch_size *= 4
  large = memory.step_bytes(config, STATS, EXAMPLE)
  assert 2 * small < large < 5 * small
  assert memory.device_bytes() > large


def test_the_largest_batch_fits_and_a_larger_one_does_not(config, limit):
  config.batch_size = 12
  limit(memory.step_bytes(config, STATS, EXAMPLE))
  assert memory.largest_batch(config, STATS, EXAMPLE) == 12
  limit(1000)
  assert memory.largest_batch(config, STATS, EXAMPLE) == 0


def test_a_run_that_does_not_fit_names_a_batch_that_does(config, limit):
  dataset = make_dataset()
  run = setup.make_run(config, STATS)
  assert memory.compile_step(run, config, dataset).predictor == run.predictor
  limit(memory.step_bytes(config, STATS, EXAMPLE))
  config.batch_size = 16
  run = setup.make_run(config, STATS)
  with pytest.raises(errors.InputError, match='set config.batch_size=4'):
    memory.compile_step(run, config, dataset)
