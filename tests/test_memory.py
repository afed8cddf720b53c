"""The memory of a step comes from its program; a step too large is refused."""

import functools

import numpy as np
import pytest

from unet_jax import errors, parallel
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
    monkeypatch.setattr(parallel, 'device_bytes', lambda: num_bytes)

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
  assert parallel.device_bytes() > large


def fake_bytes(config, stats, example):
  """Stands in for compiling: a line that bends a little, less with remat."""
  batch = config.batch_size
  slope = 100 if config.model.remat else 1000
  return 10_000 + slope * batch + batch**2


@pytest.mark.parametrize('most', [4, 8, 12, 96, 400, 4000])
def test_the_largest_batch_fits_and_a_larger_one_does_not(
  config, monkeypatch, most
):
  monkeypatch.setattr(memory, 'step_bytes', fake_bytes)
  config.batch_size = most
  room = fake_bytes(config, STATS, EXAMPLE) / memory.FULL
  largest = functools.partial(memory.largest_batch, config, STATS, EXAMPLE)
  assert largest(room=room) == most
  assert largest(room=room, below=most) == most - 4
  assert largest(room=1000) == 0
  assert largest(room=2**80) == 2**20


def test_a_run_that_does_not_fit_names_what_does(config, limit, monkeypatch):
  monkeypatch.setattr(memory, 'step_bytes', fake_bytes)
  config.batch_size = 8
  limit(16_000)
  check = functools.partial(memory.check_fits, config=config)
  check(needed=16_000, images=0, stats=STATS, example=EXAMPLE)
  with pytest.raises(errors.InputError) as refused:
    check(needed=16_001, images=0, stats=STATS, example=EXAMPLE)
  assert 'set config.batch_size=4 or config.model.remat=2' in str(refused.value)
  with pytest.raises(errors.InputError, match='set config.input=host or'):
    check(needed=15_000, images=1001, stats=STATS, example=EXAMPLE)


def test_a_compiled_step_is_checked_and_then_used(config, limit):
  dataset = make_dataset()
  run = setup.make_run(config, STATS)
  compiled = memory.compile_step(run, config, dataset)
  assert (compiled.predictor, compiled.input) == (run.predictor, 'host')
  needed = memory.compiled_bytes(compiled.train_step)
  limit(needed - 1)
  with pytest.raises(errors.InputError, match='a training step needs'):
    memory.compile_step(run, config, dataset)


def test_images_stay_on_the_host_if_the_step_needs_their_room(
  config, limit, monkeypatch
):
  dataset = make_dataset()
  run = setup.make_run(config, STATS)
  monkeypatch.setattr(memory.feed, 'choose', lambda *_: 'device')
  needed = memory.step_bytes(config, STATS, EXAMPLE)
  images = memory.feed.num_bytes(dataset.splits['train'])
  for room, where in ((needed + images, 'device'), (needed, 'host')):
    limit(room)
    assert memory.compile_step(run, config, dataset).input == where
