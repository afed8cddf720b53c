"""Checks that a predictor counts, draws and predicts consistently."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from unet_jax import build, errors, parallel
from unet_jax.data import labels
from unet_jax.evaluation import ensemble, tiles, trained
from unet_jax.evaluation import panels as panels_lib
from unet_jax.evaluation import predictor as predictor_lib
from unet_jax.nn import objective, preprocess

WINDOW = 64
# Sizes that fit into the window, and larger ones.
SIZES = [(20, 30), (64, 64), (50, 33), (65, 20), (100, 150), (64, 64)]
MEAN, STD = (128.0,) * 3, (64.0,) * 3


@pytest.fixture(scope='module')
def made(load_config):
  """Makes a predictor, random weights on every device, and a split."""
  config = load_config(
    'multiclass:tiny',
    **{'image_size': 32, 'model.depth': 1},
    precision='float32',
    window=WINDOW,
  )
  classes = build.make_classes(config, ('a', 'b'))
  loss_of = objective.make_loss(exclusive=True, **config.loss)
  predictor = predictor_lib.make(config, classes, MEAN, STD, loss_of=loss_of)
  leaves, tree = jax.tree.flatten(
    trained.abstract_variables(predictor.model, 3)
  )
  rng = np.random.default_rng(0)
  variables = tree.unflatten(
    [rng.normal(0, 0.5, x.shape).astype(x.dtype) ** 2 for x in leaves]
  )
  return predictor, parallel.replicate(variables), make_source(SIZES)


def make_source(sizes):
  rng = np.random.default_rng(0)
  return [
    dict(
      name=str(i),
      image=rng.integers(0, 256, (*size, 3), np.uint8),
      label=rng.choice(np.array([0, 1, 2, labels.VOID], np.uint8), size),
    )
    for i, size in enumerate(sizes)
  ]


def test_the_counts_are_those_of_the_predicted_masks(made):
  predictor, variables, source = made
  result = predictor_lib.score_split(predictor, variables, source)
  for example, counted in zip(source, result.counts, strict=True):
    planes = predictor_lib.predict(predictor, variables, example['image'])
    label = example['label']
    assert planes.shape == (*label.shape, 3)
    truth = label[..., None] == np.arange(3)
    is_valid = label != labels.VOID
    cells = (planes & truth, planes & ~truth, ~planes & truth, ~planes & ~truth)
    expected = [np.count_nonzero(cell[is_valid], axis=0) for cell in cells]
    np.testing.assert_array_equal(counted, np.stack(expected, axis=-1))
  assert list(result.row)[:2] == ['macro_f1', 'macro_iou']


def test_the_loss_of_an_image_weighs_its_pieces_by_their_pixels(made):
  """So cross entropy is that of the image; the loss is the images' mean."""
  predictor, variables, source = made
  result = predictor_lib.score_split(predictor, variables, source)
  assert set(result.losses) == {'loss', 'dice_loss', 'ce_loss'}
  images, entropies = [example['image'] for example in source], []
  examples = [{'image': image} for image in images]
  predicted = predictor_lib.logits_of(predictor, variables, examples)
  for logits, example in zip(predicted, source, strict=True):
    is_valid = example['label'] != labels.VOID
    shifted = logits[is_valid] - logits[is_valid].max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    rows = np.arange(len(log_p)), example['label'][is_valid]
    entropies.append(-log_p[rows].mean())
  mean = np.mean(entropies)
  np.testing.assert_allclose(result.losses['ce_loss'], mean, rtol=1e-4)


def whole(predictor, variables, image):
  """Applies the model to a whole image, on one device."""
  image = preprocess.normalise(jnp.asarray(image)[None], MEAN, STD)
  return jax.jit(predictor.model.apply)(jax.device_get(variables), image)[0]


def test_an_image_that_fits_is_one_window_padded_by_its_edge(made):
  predictor, variables, source = made
  image = source[2]['image']
  (logits,) = predictor_lib.logits_of(predictor, variables, [{'image': image}])
  padded = np.pad(image, ((0, 14), (0, 31), (0, 0)), mode='edge')
  expected = whole(predictor, variables, padded)[:50, :33]
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def receptive_radius(predictor, variables):
  """Returns how far the logits of a pixel look, by their gradient."""
  side, middle = 80, 40

  def near_middle(image):
    logits = predictor.model.apply(jax.device_get(variables), image)
    return logits[0, middle : middle + 2, middle : middle + 2].sum()

  image = np.random.default_rng(0).normal(size=(1, side, side, 3))
  gradient = jax.jit(jax.grad(near_middle))(jnp.asarray(image, jnp.float32))
  touched = np.flatnonzero(np.abs(gradient).sum(axis=(0, 2, 3)))
  return max(middle - touched[0], touched[-1] - middle)


def test_tiles_give_the_logits_of_the_whole_image(made):
  """Where the image and all windows of a pixel hold what its logits see."""
  predictor, variables, source = made
  image = source[4]['image']
  radius = receptive_radius(predictor, variables)
  assert 4 < radius < WINDOW // 4
  is_same = np.ones(image.shape[:2], bool)
  for axis, side in enumerate(is_same.shape):
    starts = tiles.starts(side, WINDOW)
    for start, length in ((0, side), *((start, WINDOW) for start in starts)):
      place = np.arange(side) - start
      is_outside = (place < 0) | (place >= length)
      is_deep = (place >= radius) & (place < length - radius)
      is_same &= np.expand_dims(is_outside | is_deep, 1 - axis)
  (logits,) = predictor_lib.logits_of(predictor, variables, [{'image': image}])
  expected = whole(predictor, variables, image)
  assert is_same.sum() > 1000
  np.testing.assert_allclose(
    logits[is_same], expected[is_same], rtol=1e-4, atol=1e-4
  )
  assert np.abs(logits - expected).max() > 0.01  # Elsewhere they differ.


def test_images_of_twenty_sizes_compile_the_network_once(made):
  predictor, _, _ = made
  shapes = []

  def network(_, batch):
    shapes.append(batch['image'].shape)  # Only when it is traced.
    return batch['image'].astype(jnp.float32)

  predictor = predictor._replace(logits=parallel.map_batches(network))
  source = make_source([(30 + 5 * i, 120 - 4 * i) for i in range(20)])
  result = predictor_lib.score_split(predictor, None, source)
  panels_lib.draw(predictor, None, source)
  for example, counted in zip(source, result.counts, strict=True):
    image, label = example['image'], example['label']
    planes = predictor_lib.predict(predictor, None, image)
    largest = image.argmax(axis=-1)[..., None] == np.arange(3)
    np.testing.assert_array_equal(planes, largest)
    hits = largest & (label[..., None] == np.arange(3))
    np.testing.assert_array_equal(counted[:, 0], hits.sum(axis=(0, 1)))
  assert shapes == [(1, WINDOW, WINDOW, 3)]


def test_models_of_other_images_share_a_compiled_network(made, load_config):
  """As folds do; their moments differ."""
  predictor, variables, source = made
  variables = jax.tree.map(lambda x: 0.4 * x, variables)  # Less certain.
  image = source[4]['image']
  other = predictor._replace(mean=(100.0,) * 3, std=(50.0,) * 3)
  config = load_config('multiclass:tiny', **{'model.depth': 1})
  models = [
    trained.Trained(config, x, variables, step, (pathlib.Path('run'),))
    for step, x in enumerate((predictor, other._replace(logits=None)))
  ]
  for augment in (['flips'], []):
    together = ensemble._average(models, augment)
    (logits,) = predictor_lib.logits_of(
      together.predictor, together.variables, [{'image': image[:60, :60]}]
    )
  assert predictor.logits._cache_size() == 1
  deep = load_config('multiclass:tiny', **{'model.depth': 6})
  with pytest.raises(errors.InputError, match='needs a multiple of 128'):
    ensemble._average([*models, models[0]._replace(config=deep)], [])
  probs = [
    predictor_lib.probabilities(x, variables, image[:60, :60])
    for x in (predictor, other)
  ]
  assert np.abs(probs[0] - probs[1]).max() > 0.01
  np.testing.assert_allclose(
    special.softmax(logits, axis=-1), np.mean(probs, axis=0), atol=1e-5
  )


def test_sizes_of_an_image_are_averaged(made):
  """A network whose logits are the image sees a smooth image alike at each."""
  predictor, _, _ = made
  shapes = []

  def network(_, batch):
    shapes.append(batch['image'].shape)  # Only when it is traced.
    return batch['image'].astype(jnp.float32) / 16

  predictor = predictor._replace(
    logits=parallel.map_batches(network), scales=(0.75, 1.0, 1.25)
  )
  y, x = np.mgrid[:50, :90]
  image = np.stack([x, y, x + y], axis=-1).astype(np.uint8)
  (logits,) = predictor_lib.logits_of(predictor, None, [{'image': image}])
  assert logits.shape == (50, 90, 3)
  expected = special.softmax(image / 16, axis=-1)
  probs = special.softmax(logits, axis=-1)
  np.testing.assert_allclose(probs, expected, atol=0.03)
  strips = predictor_lib.strips_of(
    predictor, None, image.__getitem__, image.shape[:2], {}
  )
  np.testing.assert_array_equal(np.concatenate(list(strips)), logits)
  assert shapes == [(1, WINDOW, WINDOW, 3)]


def test_an_image_that_is_scaled_is_predicted_at_its_own_size(made):
  predictor, variables, source = made
  image = source[2]['image']
  planes = predictor_lib.predict(predictor, variables, image, resize=25)
  assert planes.shape == (50, 33, 3)
  assert planes.dtype == bool


def test_the_first_examples_are_drawn(made):
  predictor, variables, source = made
  panels = panels_lib.draw(predictor, variables, source)
  assert [panel.shape for panel in panels] == [
    (height, 4 * width + 24, 3) for height, width in SIZES[:3]
  ]
