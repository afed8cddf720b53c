"""Windows cut on the device are those cut on the host, to the bit."""

import functools
import itertools

import jax
import numpy as np
import pytest

from unet_jax import errors, parallel
from unet_jax.data import crops, labels, packed, pipeline, sources
from unet_jax.nn import windows
from unet_jax.training import feed

WINDOW = 24
SHAPES = [(40, 50), (30, 30), (9, 60), (5, 7)]  # Some smaller than a window.


def make_examples(planes=(), has_weights=False):
  rng = np.random.default_rng(0)
  examples = []
  for i, shape in enumerate(SHAPES):
    example = dict(
      name=str(i),
      image=rng.integers(0, 256, (*shape, 3), np.uint8),
      label=rng.integers(0, 3, (*shape, *planes), np.uint8),
      mean=rng.random(3, np.float32),
      std=rng.random(3, np.float32),
    )
    if has_weights:
      example['weight_map'] = rng.random(shape, np.float32)
    examples.append(example)
  return examples


def make_sampling(examples):
  places = [
    crops.find_places(labels.to_planes(x['label'], 2)) for x in examples
  ]
  return pipeline.Sampling(
    image_size=16,
    window_size=WINDOW,
    seed=0,
    table=crops.make_table(places, num_classes=2),
    foreground_share=0.5,
  )


@pytest.mark.parametrize('planes', [(), (2,)])
@pytest.mark.parametrize('has_weights', [False, True])
def test_windows_are_those_of_the_host(planes, has_weights):
  examples = make_examples(planes, has_weights)
  sampling = make_sampling(make_examples())
  on_device = parallel.replicate(packed.pack(examples))
  cut = parallel.map_batches(functools.partial(windows.cut, side=WINDOW))
  settings = dict(batch_size=8, first_step=3)
  host = pipeline.train_batches(examples, sampling, **settings)
  places = pipeline.train_places(SHAPES, sampling, **settings)
  is_void = False
  for batch, place in itertools.islice(zip(host, places, strict=True), 4):
    expected = jax.device_get(parallel.place_batch(batch))
    got = jax.device_get(cut(on_device, parallel.place_batch(place)))
    assert got.keys() == expected.keys()
    for key in expected:
      assert got[key].dtype == expected[key].dtype
      np.testing.assert_array_equal(got[key], expected[key])
    is_void |= bool((got['label'] == labels.VOID).any())
  assert is_void


def make_dataset(examples, kept=None):
  by_name = {x['name']: x for x in examples}
  source = sources.Source(
    list(by_name), by_name.get, by_name if kept is None else kept
  )
  stats = sources.Stats(('a', 'b'), (128.0,) * 3, (64.0,) * 3)
  return sources.Dataset({'train': source}, stats)


@pytest.fixture
def tiny(load_config):
  def load(**overrides):
    return load_config('multiclass:tiny', batch_size=8, **overrides)

  return load


def test_both_inputs_feed_the_same_batches(tiny):
  dataset = make_dataset(make_examples())
  fed = [
    list(itertools.islice(feed.batches(tiny(), dataset, x), 3))
    for x in ('host', 'device')
  ]
  for expected, got in zip(*jax.device_get(fed), strict=True):
    assert got.keys() == expected.keys()
    for key in expected:
      np.testing.assert_array_equal(got[key], expected[key])


def test_on_a_cpu_the_host_cuts_unless_asked(tiny):
  dataset = make_dataset(make_examples())
  chosen = [feed.choose(tiny(input=x), dataset) for x in ('auto', 'device')]
  assert chosen == ['host', 'device']


def test_images_that_do_not_fit_are_refused(tiny, monkeypatch):
  config = tiny(input='device')
  with pytest.raises(errors.InputError, match='config.input=host'):
    feed.choose(config, make_dataset(make_examples(), kept={}))
  dataset = make_dataset(make_examples())
  monkeypatch.setattr(feed, 'MOST_PIXELS', 100)
  with pytest.raises(errors.InputError, match='pixels'):
    feed.choose(config, dataset)


def test_a_gpu_takes_what_fits_into_a_quarter(tiny, monkeypatch):
  dataset = make_dataset(make_examples())
  needed = sum(4 * h * w for h, w in SHAPES)
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  for limit, chosen in ((4 * needed, 'device'), (4 * needed - 1, 'host')):
    monkeypatch.setattr(parallel, 'device_bytes', lambda x=limit: x)
    assert feed.choose(tiny(), dataset) == chosen
