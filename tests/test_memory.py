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


def fake_bytes(config, stats, example):
  """Stands in for compiling: a line that bends a little, less with remat."""
  batch = config.batch_size
  slope = 100 if config.model.remat else 1000
  return 10_000 + slope * batch + batch**2


@pytest.mark.parametrize('most', [4, 8, 12, 96, 400, 4000])
def test_the_largest_batch_fits_and_a_larger_one_does_not(
  config, limit, monkeypatch, most
):
  monkeypatch.setattr(memory, 'step_bytes', fake_bytes)
  config.batch_size = most
  limit(fake_bytes(config, STATS, EXAMPLE))
  assert memory.largest_batch(config, STATS, EXAMPLE) == most
  limit(1000)
  assert memory.largest_batch(config, STATS, EXAMPLE) == 0


def test_a_run_that_does_not_fit_names_what_does(config, limit, monkeypatch):
  monkeypatch.setattr(memory, 'step_bytes', fake_bytes)
  limit(16_000)
  memory.check_fits(16_000, config, STATS, EXAMPLE)
  with pytest.raises(errors.InputError) as refused:
    memory.check_fits(16_001, config, STATS, EXAMPLE)
  assert 'set config.batch_size=4 or config.model.remat=2' in str(refused.value)


def test_a_compiled_step_is_checked_and_then_used(config, limit):
  dataset = make_dataset()
  run = setup.make_run(config, STATS)
  compiled = memory.compile_step(run, config, dataset)
  assert compiled.predictor == run.predictor
  needed = memory.compiled_bytes(compiled.train_step)
  limit(needed - 1)
  with pytest.raises(errors.InputError, match='a training step needs'):
    memory.compile_step(run, config, dataset)
