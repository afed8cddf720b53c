"""Images and labels become the inputs of the model and the loss."""

import jax.numpy as jnp
import numpy as np
import pytest

from unet_jax.nn import preprocess

MEAN, STD = (100.0, 50.0, 10.0), (20.0, 10.0, 1.0)


def run(label, num_planes, *, exclusive, image=None, **kwargs):
  label = jnp.asarray(label, jnp.uint8)[None]
  if image is None:
    image = jnp.zeros((*label.shape[:3], 3), jnp.uint8)
  return preprocess.preprocess(
    image,
    label,
    mean=MEAN,
    std=STD,
    num_planes=num_planes,
    exclusive=exclusive,
    **kwargs,
  )


@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
def test_channels_are_normalised_with_their_own_constants(dtype):
  image = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 3)).astype(dtype)
  normalised = preprocess.normalise(jnp.asarray(image), MEAN, STD)
  assert normalised.dtype == jnp.float32
  expected = (image - np.float64(MEAN)) / STD
  np.testing.assert_allclose(normalised, expected, rtol=1e-6, atol=1e-6)


def test_constants_of_a_set_bring_it_to_mean_0_and_std_1():
  image = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1), np.uint8)
  normalised = preprocess.normalise(
    jnp.asarray(image), [image.mean()], [image.std()]
  )
  np.testing.assert_allclose(normalised.mean(), 0, atol=1e-6)
  np.testing.assert_allclose(normalised.std(), 1, atol=1e-6)


def test_exclusive_planes_are_the_classes_background_first():
  inputs = run([[0, 1, 2, 255]], 3, exclusive=True)
  eye = np.eye(3)
  np.testing.assert_array_equal(inputs.target[0, 0, :3], eye)
  np.testing.assert_array_equal(inputs.weight, [[[1, 1, 1, 0]]])
  assert inputs.target.dtype == inputs.weight.dtype == jnp.float32


def test_binary_label_is_one_plane():
  inputs = run([[0, 1, 255]], 1, exclusive=False)
  np.testing.assert_array_equal(inputs.target, [[[[0], [1], [0]]]])
  np.testing.assert_array_equal(inputs.weight, [[[1, 1, 0]]])


def test_overlapping_planes_pass_and_void_in_one_is_void():
  label = [[[0, 1], [1, 1], [255, 1], [255, 255]]]
  inputs = run(label, 2, exclusive=False)
  np.testing.assert_array_equal(
    inputs.target, [[[[0, 1], [1, 1], [0, 1], [0, 0]]]]
  )
  np.testing.assert_array_equal(inputs.weight, [[[1, 1, 0, 0]]])


def test_soft_labels_are_shares_of_254():
  label = np.array([[[0, 254], [127, 1], [255, 254]]])
  inputs = run(label, 2, exclusive=False, soft=True)
  expected = np.where(label == 255, 0, label) / 254
  np.testing.assert_allclose(inputs.target[0], expected, rtol=1e-6)
  np.testing.assert_array_equal(inputs.weight, [[[1, 1, 0]]])
  plane = run(label[..., 0], 1, exclusive=False, soft=True)
  np.testing.assert_allclose(plane.target[0], expected[..., :1], rtol=1e-6)


@pytest.mark.parametrize('exclusive', [True, False])
def test_target_is_never_255(exclusive):
  inputs = run(np.full((3, 3), 255), 2, exclusive=exclusive)
  assert inputs.target.max() <= 1
  assert inputs.weight.sum() == 0


def test_images_are_normalised_each_by_its_own():
  rng = np.random.default_rng(0)
  image = rng.integers(-900, 900, (2, 3, 4, 2)).astype(np.int16)
  mean, std = rng.normal(0, 9, (2, 2)), rng.uniform(1, 9, (2, 2))
  expected = (image - mean[:, None, None]) / std[:, None, None]
  normalised = preprocess.normalise(jnp.asarray(image), mean, std)
  np.testing.assert_allclose(normalised, expected, rtol=1e-5, atol=1e-5)
