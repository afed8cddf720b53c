"""Warm starts: opening the other run, re-estimating batch norm's statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unet_jax import errors, parallel
from unet_jax.nn import unet
from unet_jax.nn.preprocess import Inputs
from unet_jax.training import warm_start


@pytest.mark.parametrize(
  ('name', 'message'),
  [
    ('nowhere', 'holds no checkpoint'),
    ('nowhere/checkpoints/7', 'there is no such checkpoint'),
    ('nowhere/checkpoints/x', 'there is no such checkpoint'),
  ],
)
def test_a_missing_run_is_refused(tmp_path, name, message):
  with pytest.raises(errors.InputError, match=message):
    warm_start.open_run(str(tmp_path / name))


def test_statistics_are_the_means_over_the_batches():
  net = unet.UNet(num_planes=1, depth=1, width=4, axis_name=parallel.AXIS)
  variables = jax.jit(net.init)(
    jax.random.key(0, impl='rbg'), jnp.zeros((1, 4, 4, 3))
  )
  alone = net.clone(axis_name=None)
  rng = np.random.default_rng(0)
  batches = [
    dict(image=rng.normal(i, 1 + i, (8, 8, 8, 3)).astype(np.float32))
    for i in range(3)
  ]
  batch_stats = warm_start.reestimate(
    net.apply,
    variables,
    jax.random.key(0),
    lambda rng, batch: Inputs(batch['image'], None, None),
    batches,
  )
  # The model keeps 0.9 of the old statistics, so the batch's own are 10 times
  # the rest.
  expected = []
  run = jax.jit(
    lambda image: alone.apply(
      variables, image, train=True, mutable=['batch_stats']
    )[1]['batch_stats']
  )
  for batch in batches:
    expected.append(
      jax.tree.map(
        lambda new, old: 10 * (new - 0.9 * old),
        run(batch['image']),
        variables['batch_stats'],
      )
    )
  jax.tree.map(
    lambda x, *each: np.testing.assert_allclose(
      x, np.mean(each, axis=0), rtol=1e-3, atol=1e-4
    ),
    batch_stats,
    *expected,
  )
  # The first layer's statistics also follow directly from the pixels.
  first = [
    np.asarray(
      jax.lax.conv_general_dilated(
        batch['image'],
        variables['params']['down0']['conv0']['kernel'],
        (1, 1),
        'SAME',
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      )
    )
    for batch in batches
  ]
  norm = batch_stats['down0']['norm0']
  axes = (0, 1, 2)
  np.testing.assert_allclose(
    norm['mean'], np.mean([x.mean(axes) for x in first], 0), rtol=1e-3
  )
  np.testing.assert_allclose(
    norm['var'], np.mean([x.var(axes) for x in first], 0), rtol=1e-3
  )
