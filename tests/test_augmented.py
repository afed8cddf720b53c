"""The sheet of augmented samples shows what a training step would get."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from unet_jax import build, parallel
from unet_jax.data import crops, labels, sources
from unet_jax.doctor import augmented_sheet
from unet_jax.nn import preprocess
from unet_jax.training import setup
from unet_jax.training import step as step_lib


@pytest.fixture(scope='module')
def config(load_config):
  return load_config('multiclass:tiny', image_size=16, seed=3)


@pytest.fixture(scope='module')
def dataset():
  rng = np.random.default_rng(0)
  examples = []
  for i in range(5):
    image = rng.integers(0, 256, (30, 40, 3), np.uint8)
    label = np.zeros((30, 40), np.uint8)
    label[10:20, 5 + i : 15] = 1
    label[i, i] = 2
    examples.append(dict(name=str(i), image=image, label=label, overlap=0))
  places = [
    crops.find_places(labels.to_planes(example['label'], 2))
    for example in examples
  ]
  return sources.Dataset(
    {'train': examples},
    sources.Stats(('red', 'bright'), (0.0,) * 3, (1.0,) * 3),
    places=crops.make_table(places, 2),
  )


def identity_step(config):
  """Returns a state and a training step that reports the model's inputs."""

  def preprocess_fn(image, label):
    target = label.astype(jnp.float32)[..., None].repeat(3, axis=-1)
    return preprocess.Inputs(image, target, jnp.ones(label.shape))

  def loss_of(logits, target, weight, axis_name):
    image, label = logits, target
    if axis_name:
      image, label = jax.lax.all_gather((image, label), axis_name, tiled=True)
    return jnp.mean(logits), {'image': image, 'label': label}

  def apply(variables, image, **_):
    return image + 0 * variables['params']['zero'], {}

  state = step_lib.TrainState.create(
    apply_fn=apply,
    params={'zero': jnp.zeros(())},
    tx=optax.sgd(0.0),
    batch_stats={},
    averaged={'params': {'zero': jnp.zeros(())}, 'batch_stats': {}},
    rng=jax.random.key(config.seed),
  ).replace(step=jnp.zeros((), jnp.int32))
  return state, functools.partial(
    step_lib.train_step,
    augment_fn=build.make_augment(config),
    preprocess_fn=preprocess_fn,
    loss_of=loss_of,
    schedule=optax.constant_schedule(0.0),
    ema=0.0,
    exclusive=True,
    axis_name=parallel.AXIS,
  )


def test_samples_of_the_sheet_are_those_of_a_step_on_four_devices(
  config, dataset
):
  batch, image, label = augmented_sheet.draw_samples(config, dataset, 4)
  np.testing.assert_array_equal(batch['index'], np.arange(4))
  assert batch['image'].shape == (4, *(build.window_size(config),) * 2, 3)
  assert image.shape == (4, 16, 16, 3)
  state, step = identity_step(config)
  placed = next(parallel.place_ahead(build.make_batches(config, dataset)))
  _, metrics = parallel.map_step(step)(parallel.replicate(state), placed)
  np.testing.assert_allclose(metrics['image'], image, atol=1e-3)
  np.testing.assert_array_equal(metrics['label'][..., 0], label)


def test_sheet_has_every_pair_before_and_after(config, dataset):
  height, width, _ = augmented_sheet.make_sheet(config, dataset).shape
  gap, window = 8, build.window_size(config)
  assert height == augmented_sheet.NUM_SHOWN // 2 * (window + gap) - gap
  assert width == 2 * (window + 16 + 2 * gap) + 2 * gap


def test_outlines_are_in_the_classes_colors_and_void_is_grey():
  image = np.full((9, 9, 3), 50, np.uint8)
  label = np.zeros((9, 9), np.uint8)
  label[2:7, 2:7], label[8] = 1, labels.VOID
  task = labels.ClassSpec(('background', 'a', 'b'), 2, exclusive=True)
  picture = augmented_sheet._outlined(image, label, task)
  assert (picture[2, 2:7] == augmented_sheet.pictures.COLORS[0]).all()
  assert (picture[3:6, 3:6] == 50).all()
  assert (picture[8] == 128).all()


def test_crop_shares_and_kerass_degrees_are_reported(load_config, dataset):
  config = load_config('tutorial:lesions', **{'data.foreground_share': 0.5})
  lines = setup.describe_samples(config, dataset)
  assert lines[0] == (
    'crops: 0.5 around a class, 0.25 each for red (5 images), bright (5 '
    'images); the others anywhere'
  )
  assert '0.3 degrees' in lines[1]
  config.data.foreground_share = 0.0
  config.augment.rotation_range = 15.0
  assert setup.describe_samples(config, dataset) == []
  config.data.foreground_share = 1.0
  absent = types.SimpleNamespace(classes=('red',), places=((),))
  assert setup.describe_samples(config, absent) == []
