"""The training step on any number of devices and backends, compiled once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType

from unet_jax import build, defaults, parallel
from unet_jax.data import labels
from unet_jax.nn import augment, objective, tutorial_unet, unet
from unet_jax.training import optimizer
from unet_jax.training import step as step_lib

CLASSES = labels.ClassSpec(('background', 'a', 'b'), 2, exclusive=True)
AUGMENT = functools.partial(
  augment.augment,
  size=16,
  ranges=augment.Ranges(
    horizontal_flip=True,
    quarter_turns=True,
    rotation_range=15.0,
    zoom_range=(0.9, 1.1),
    height_shift_range=0.1,
    brightness=0.1,
    contrast=0.2,
  ),
)


def make_batch(first=0, size=4):
  rng = np.random.default_rng(first)
  return dict(
    image=rng.integers(0, 256, (size, 16, 16, 3), np.uint8),
    label=rng.choice(
      np.array([0, 1, 2, 255], np.uint8), (size, 16, 16), p=(0.6, 0.2, 0.1, 0.1)
    ),
    index=np.arange(first, first + size, dtype=np.int32),
  )


def make(
  tx,
  *,
  axis_name=parallel.AXIS,
  per_image=False,
  make_model=unet.UNet,
  dropout=0.0,
):
  """Returns the state before step 1, and its step."""
  model = make_model(
    num_planes=3, depth=1, width=4, dropout=dropout, axis_name=axis_name
  )
  step = functools.partial(
    step_lib.train_step,
    augment_fn=AUGMENT,
    preprocess_fn=build.make_preprocess(CLASSES, (128.0,) * 3, (64.0,) * 3),
    loss_of=objective.make_loss(
      exclusive=True,
      **defaults.get_config().loss.to_dict() | {'per_image': per_image},
    ),
    schedule=optax.constant_schedule(0.1),
    ema=0.9,
    exclusive=True,
    axis_name=axis_name,
  )

  @jax.jit
  def init():
    variables = model.init(
      jax.random.key(0, impl='rbg'), jnp.zeros((1, 4, 4, 3))
    )
    # Key 1 gives an activation so near 0 that rounding decides its gradient.
    return step_lib.init_state(model.apply, variables, tx, jax.random.key(2))

  return init(), step


def run(step, state, num_steps, place=lambda batch: batch):
  losses = []
  for i in range(num_steps):
    state, metrics = step(state, place(make_batch(4 * i)))
    losses.append(float(metrics['loss']))
  return state, losses


def largest_difference(a, b):
  return max(
    float(np.max(np.abs(np.asarray(x) - np.asarray(y))))
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  )


@pytest.mark.parametrize('per_image', [False, True])
def test_four_devices_take_the_sgd_steps_of_one(per_image):
  assert jax.device_count() == 4
  tx = optax.sgd(0.1)
  alone, step = make(tx, axis_name=None, per_image=per_image)
  alone, losses_alone = run(jax.jit(step), alone, 5)
  state, step = make(tx, per_image=per_image)
  state, losses_mapped = run(
    parallel.map_step(step, donate=True),
    parallel.replicate(state),
    5,
    parallel.place_batch,
  )
  np.testing.assert_allclose(losses_mapped, losses_alone, rtol=1e-5)
  assert largest_difference(state.params, alone.params) < 1e-5
  assert largest_difference(state.averaged, alone.averaged) < 1e-5


@pytest.mark.parametrize(
  ('make_model', 'dropout'),
  [
    (unet.UNet, 0.0),
    (unet.UNet, 0.5),
    (tutorial_unet.TutorialUNet, 0.5),
  ],
)
def test_four_devices_have_the_gradients_of_one(make_model, dropout):
  # A step of SGD with learning rate 1 changes the weights by the gradients.
  tx = optax.sgd(1.0)
  settings = dict(make_model=make_model, dropout=dropout)
  first, step = make(tx, axis_name=None, **settings)
  alone, _ = run(jax.jit(step), first, 1)
  state, step = make(tx, **settings)
  state, _ = run(
    parallel.map_step(step), parallel.replicate(state), 1, parallel.place_batch
  )
  assert largest_difference(state.params, alone.params) < 1e-5
  assert largest_difference(first.params, alone.params) > 1e-2


def test_four_devices_have_adams_losses_of_one():
  tx = optimizer.make_optimizer(optax.cosine_decay_schedule(1e-3, 5))
  alone, step = make(tx, axis_name=None)
  _, losses_alone = run(jax.jit(step), alone, 5)
  state, step = make(tx)
  _, losses_mapped = run(
    parallel.map_step(step, donate=True),
    parallel.replicate(state),
    5,
    parallel.place_batch,
  )
  np.testing.assert_allclose(losses_mapped, losses_alone, rtol=1e-4)


def test_shard_map_gives_the_weights_of_pmap():
  tx = optax.sgd(0.1)
  state, step = make(tx)
  state = parallel.replicate(state)
  by_pmap, _ = run(parallel.map_step(step), state, 2, parallel.place_batch)
  by_shards, _ = run(
    parallel.shard_step(step, parallel.make_mesh()),
    state,
    2,
    parallel.place_batch,
  )
  assert largest_difference(by_pmap.params, by_shards.params) == 0


def test_the_step_compiles_once_and_moves_only_what_is_placed():
  state, step = make(optax.adam(1e-3))
  mapped = parallel.map_step(step, donate=True)
  state = parallel.replicate(state)
  batches = [parallel.place_batch(make_batch(4 * i)) for i in range(3)]
  with (
    jax.log_compiles(),
    pytest.MonkeyPatch.context() as patch,
  ):
    compiled = []
    patch.setattr(
      jax._src.dispatch.logger, 'log', lambda *a, **k: compiled.append(a)
    )
    with jax.transfer_guard_host_to_device('disallow'):
      state, _ = mapped(state, batches[0])
    first = len(compiled)
    with jax.transfer_guard_host_to_device('disallow'):
      for batch in batches[1:]:
        state, metrics = mapped(state, batch)
  assert first > 0
  assert len(compiled) == first
  assert np.isfinite(metrics['loss'])


def test_an_unplaced_batch_is_refused_under_the_guard():
  state, step = make(optax.sgd(0.1), axis_name=None)
  with (
    jax.transfer_guard_host_to_device('disallow'),
    pytest.raises(Exception, match='[Dd]isallowed host-to-device'),
  ):
    jax.jit(step)(state, make_batch())


def test_it_lowers_for_cuda_without_a_gpu():
  state, step = make(optax.adam(1e-3))
  mesh = jax.make_mesh((1,), ('data',), axis_types=(AxisType.Auto,))
  # Export can't compare the functions inside a state, so it gets the leaves.
  leaves, tree = jax.tree.flatten(state)

  def flat_step(leaves, batch):
    state, metrics = step(jax.tree.unflatten(tree, leaves), batch)
    return jax.tree.leaves(state), metrics

  abstract = jax.eval_shape(lambda: leaves)
  batch = {k: v[None] for k, v in make_batch().items()}
  exported = jax.export.export(
    parallel.shard_step(flat_step, mesh), platforms=['cuda']
  )(abstract, jax.eval_shape(lambda: batch))
  assert exported.platforms == ('cuda',)
  text = exported.mlir_module()
  assert 'stablehlo.convolution' in text


def test_averages_follow_the_weights_and_ema_zero_is_the_weights():
  tx = optax.sgd(0.1)
  state, step = make(tx, axis_name=None)
  old = jax.device_get(state.averaged['params'])
  new, _ = jax.jit(step)(state, make_batch())
  decay = min(0.9, (1 + 1) / (10 + 1))
  for a, before, now in zip(
    *map(jax.tree.leaves, (new.averaged['params'], old, new.params)),
    strict=True,
  ):
    np.testing.assert_allclose(
      a, decay * before + (1 - decay) * now, rtol=1e-5, atol=1e-6
    )
  new, _ = jax.jit(functools.partial(step, ema=0.0))(state, make_batch())
  assert largest_difference(new.averaged['params'], new.params) == 0


def test_a_sample_is_augmented_by_its_place_in_the_stream_alone():
  batch = make_batch()
  image = np.repeat(batch['image'][:1], 4, axis=0)
  label = np.repeat(batch['label'][:1], 4, axis=0)
  rngs = augment.sample_rngs(jax.random.key(0), jnp.array([7, 8, 7, 9]))
  images, _ = jax.vmap(AUGMENT)(rngs, jnp.array(image), jnp.array(label))
  np.testing.assert_array_equal(images[0], images[2])
  assert np.any(images[0] != images[1])
  assert np.any(images[1] != images[3])


@pytest.mark.parametrize('total_steps', [1, 2, 3, 100])
def test_the_schedule_works_for_any_number_of_steps(total_steps):
  schedule = optimizer.make_schedule(
    'cosine', lr=1e-2, warmup=0.1, total_steps=total_steps
  )
  rates = [float(schedule(i)) for i in range(total_steps)]
  assert np.all(np.isfinite(rates))
  assert max(rates) == pytest.approx(1e-2, rel=0.05)
  assert schedule(total_steps) == pytest.approx(0, abs=1e-8)
