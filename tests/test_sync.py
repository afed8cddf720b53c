"""What is equal on all devices is so by a collective, as JAX itself checks.

With check_vma=True, shard_map refuses a result that is declared equal on all
devices unless a collective has made it so.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from unet_jax import defaults, parallel
from unet_jax.evaluation import counts
from unet_jax.nn import objective, unet

BATCH, SIDE = 8, 16
TERMS = (
  *('dice', 'generalised_dice', 'tversky', 'cldice', 'ce', 'focal'),
  'negative_dice',
)


@pytest.fixture(scope='module')
def inputs():
  rng = np.random.default_rng(0)
  image = rng.normal(size=(BATCH, SIDE, SIDE, 3)).astype(np.float32)
  label = rng.integers(0, 3, (BATCH, SIDE, SIDE))
  target = np.eye(3, dtype=np.float32)[label]
  # Devices have different numbers of pixels that count.
  weight = (
    rng.random((BATCH, SIDE, SIDE)) < np.linspace(0.1, 1, BATCH)[:, None, None]
  )
  return image, target, weight.astype(np.float32)


make_model = functools.partial(
  unet.UNet, num_planes=3, depth=1, width=4, engine='xla'
)


def make_variables():
  rng = np.random.default_rng(1)
  init = functools.partial(make_model().init, jax.random.key(0))
  shapes = jax.eval_shape(init, jnp.zeros((1, 4, 4, 3)))
  return jax.tree.map(
    lambda x: rng.normal(0, 0.3, x.shape).astype(x.dtype), shapes
  )


def forward(image, target, weight, *, scope, per_image, synced=True):
  """Runs a forward pass of training; returns what all devices agree on."""
  model = make_model(axis_name=scope)
  logits, updated = model.apply(
    make_variables(), image, train=True, mutable=['batch_stats']
  )
  weights = defaults.get_config().loss.to_dict()
  weights |= dict.fromkeys(TERMS, 1.0) | {'cldice_radius': 1}
  weights['per_image'] = per_image
  loss_of = objective.make_loss(exclusive=True, **weights)
  loss, terms = loss_of(logits, target, weight, scope if synced else None)
  pred = counts.predicted_planes(logits, exclusive=True)
  confusion = counts.confusion(pred, target, weight).sum(0)
  if scope and synced:
    confusion = jax.lax.psum(confusion, scope)
  return loss, terms, confusion, updated['batch_stats']


def mapped(monkeypatch, **settings):
  # By itself JAX counts what it has gathered as different on each device.
  gather = functools.partial(jax.lax.all_gather, to='invarying')
  monkeypatch.setattr(jax.lax, 'all_gather', gather)
  return jax.jit(
    jax.shard_map(
      functools.partial(forward, scope=parallel.AXIS, **settings),
      mesh=parallel.make_mesh(),
      in_specs=P(parallel.AXIS),
      out_specs=P(),
      check_vma=True,
    )
  )


@pytest.mark.parametrize('per_image', [False, True])
def test_forward_pass_losses_and_counts_are_synced(
  monkeypatch, inputs, per_image
):
  got = mapped(monkeypatch, per_image=per_image)(*inputs)
  alone = jax.jit(functools.partial(forward, scope=None, per_image=per_image))
  expected = alone(*inputs)
  assert {f'{name}_loss' for name in TERMS} == set(expected[1])
  for x, y in zip(*map(jax.tree.leaves, (got, expected)), strict=True):
    np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


def test_a_forgotten_sync_is_refused(monkeypatch, inputs):
  step = mapped(monkeypatch, per_image=False, synced=False)
  with pytest.raises(ValueError, match='out_specs'):
    step(*inputs)
