"""The compiled step: its collectives, layouts, types, memory and transfers."""

import functools
import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax._src import array

from unet_jax import build, defaults, parallel
from unet_jax.data import labels, sources
from unet_jax.nn import objective, unet
from unet_jax.training import loop, monitor, setup
from unet_jax.training import step as step_lib

CLASSES = labels.ClassSpec(('background', 'a'), 1, exclusive=True)
DEPTH = 1
NUM_NORMS = 2 * (2 * DEPTH + 1)  # One for each 3x3 convolution.


def make(**model):
  """Returns an abstract state and its training step."""
  settings = dict(num_planes=2, depth=DEPTH, width=4, axis_name=parallel.AXIS)
  net = unet.UNet(**settings | model)
  tx = optax.adam(1e-3)
  step = functools.partial(
    step_lib.train_step,
    augment_fn=lambda rng, image, label: (image, label),
    preprocess_fn=build.make_preprocess(CLASSES, (0.0,) * 3, (1.0,) * 3),
    loss_of=objective.make_loss(exclusive=True, **defaults.get_config().loss),
    schedule=optax.constant_schedule(0.1),
    ema=0.9,
    exclusive=True,
    axis_name=parallel.AXIS,
  )

  def init():
    variables = net.init(jax.random.key(0), jnp.zeros((1, 4, 4, 3)))
    return step_lib.init_state(net.apply, variables, tx, jax.random.key(1))

  return jax.eval_shape(init), step


def abstract_batch(size=16, batch=1, devices=4):
  shape = jax.ShapeDtypeStruct
  return dict(
    image=shape((devices, batch, size, size, 3), jnp.uint8),
    label=shape((devices, batch, size, size), jnp.uint8),
    index=shape((devices, batch), jnp.int32),
  )


def lower_for_cuda(**model):
  """Returns an abstract state and the text of the step lowered for CUDA."""
  state, step = make(engine='cudnn', **model)
  mapped = parallel.shard_step(step, parallel.make_mesh(), donate=True)
  traced = mapped.trace(state, abstract_batch())
  return state, traced.lower(lowering_platforms=('cuda',)).as_text()


@pytest.fixture(scope='module')
def cuda():
  return lower_for_cuda(dtype=jnp.bfloat16)


def collectives(hlo, name):
  """Returns the sizes of the float32 results of each instruction `name`."""
  results = re.findall(rf' = (.+?) {name}(?:-start)?\(', hlo)
  shapes = [re.findall(r'f32\[([\d,]*)\]', result) for result in results]
  return [
    [np.prod([int(n) for n in dims.split(',') if n]) for dims in arrays]
    for arrays in shapes
  ]


@pytest.mark.parametrize('form', ['pmap', 'shard_map'])
def test_gradients_take_one_all_reduce(form):
  state, step = make()
  mapped = (
    parallel.map_step(step, donate=True)
    if form == 'pmap'
    else parallel.shard_step(step, parallel.make_mesh(), donate=True)
  )
  hlo = mapped.lower(state, abstract_batch()).compile().as_text()
  reduced = collectives(hlo, 'all-reduce')
  num_params = sum(x.size for x in jax.tree.leaves(state.params))
  assert sum(num_params in sizes for sizes in reduced) == 1
  # The other reduced arrays are smaller than a 3x3 kernel: two sums per norm,
  # for its input's gradient; the loss' sums and their gradients; and the sums
  # and peaks of collapse.count.
  rest = [s for sizes in reduced for s in sizes if s != num_params]
  assert max(rest) <= 5 * 2
  assert len(reduced) <= 1 + NUM_NORMS + 6
  # Each norm gathers the devices' means and variances.
  gathered = sum(map(len, collectives(hlo, 'all-gather')))
  assert gathered == 2 * NUM_NORMS


def test_for_cuda_gradients_take_one_all_reduce(cuda):
  state, text = cuda
  num_params = sum(x.size for x in jax.tree.leaves(state.params))
  types_ = re.findall(r'all_reduce.*?\}\) : \((.*?)\) ->', text, re.DOTALL)
  assert types_.count(f'tensor<{num_params}xf32>') == 1
  assert not any('x3x' in t for t in types_)


def test_for_cuda_convolutions_stay_nhwc_without_transposes(cuda):
  _, text = cuda
  layouts = re.findall(r'convolution.*?dim_numbers = (.+?),\s*window', text)
  forward = '[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]'
  to_input = '[b, 0, 1, f]x[0, 1, o, i]->[b, 0, 1, f]'
  to_kernel = '[f, 0, 1, b]x[i, 0, 1, o]->[0, 1, b, f]'
  num_convs = NUM_NORMS + 1  # With the head.
  assert sorted(layouts) == sorted(
    [forward] * num_convs
    + [to_input] * (num_convs - 1)  # The image needs no gradient.
    + [to_kernel] * num_convs
  )
  # The only transposed activations are those of the up-convolution, whose
  # pixels are rearranged, once forward and once backward. The only transposed
  # matrices are its kernels.
  transposed = re.findall(r'transpose.*: \(tensor<([\dx]+)x\w+>\)', text)
  ranks = [len(dims.split('x')) for dims in transposed]
  assert ranks.count(6) == 2 * DEPTH
  assert len(ranks) == 5 * DEPTH


def test_for_cuda_values_are_rounded_where_a_layer_says_so(cuda):
  _, text = cuda
  convolved = re.findall(r'convolution\(.*: \((.*)\) -> (\S+)', text)
  low = [all('bf16' in t for t in (*x.split(', '), y)) for x, y in convolved]
  # The head is in float32: its logits and both of its gradients.
  assert low.count(False) == 3
  rounded = re.findall(r'convert .*f32>\) -> tensor<[\dx]*xbf16>', text)
  # Forward: the image, the kernels, the results of norms and up-convolutions.
  # Backward: the gradients of the inputs of head, norms and up-convolutions.
  forward = 1 + (NUM_NORMS + DEPTH) + NUM_NORMS + DEPTH
  assert len(rounded) == forward + 1 + NUM_NORMS + DEPTH
  assert 'f64' not in text


def test_for_cuda_the_state_is_donated(cuda):
  state, text = cuda
  (main,) = re.findall(r'func.func public @main\((.*)\) ->', text)
  donated = main.count('jax.buffer_donor') + main.count('tf.aliasing_output')
  assert donated == len(jax.tree.leaves(state))


def test_for_cuda_nothing_calls_the_host_or_the_native_operation(cuda):
  _, text = cuda
  assert not re.findall(r'custom_call @(?!Sharding|SPMD|annotate)\S+', text)
  assert 'unet_jax_' not in text
  assert 'callback' not in text


def test_for_cuda_convolutions_have_barriers_and_pooling_scatters_nothing(cuda):
  _, text = cuda
  # There is a barrier after each convolution, and before its gradients.
  assert text.count('optimization_barrier') == 2 * (NUM_NORMS + 1)
  assert 'scatter' not in text


@pytest.mark.parametrize('engine', ['xla', 'rewritten'])
def test_remat_keeps_names_and_gradients(engine):
  image = jnp.asarray(np.random.default_rng(0).random((1, 8, 8, 3), np.float32))

  def loss_and_grads(remat):
    model = unet.UNet(
      num_planes=2, depth=1, width=4, remat=remat, engine=engine
    )

    @jax.jit
    def run():
      variables = model.init(jax.random.key(0, impl='rbg'), image)

      def loss_fn(params):
        logits, updated = model.apply(
          variables | {'params': params},
          image,
          train=True,
          mutable=['batch_stats'],
        )
        return jnp.square(logits).mean(), updated

      return variables, jax.value_and_grad(loss_fn, has_aux=True)(
        variables['params']
      )

    return run()

  plain, again = loss_and_grads(0), loss_and_grads(2)
  assert jax.tree.structure(plain) == jax.tree.structure(again)
  for a, b in zip(*map(jax.tree.leaves, (plain, again)), strict=True):
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(a).max())


def residual_bytes(remat):
  """Returns the bytes of a 64x64 forward pass that its gradient keeps."""
  model = unet.UNet(num_planes=2, depth=2, width=8, remat=remat)
  image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
  variables = jax.eval_shape(model.init, jax.random.key(0), image)

  def kept(variables, image):
    def forward(params):
      return model.apply(
        variables | {'params': params},
        image,
        train=True,
        mutable=['batch_stats'],
      )[0]

    return jax.vjp(forward, variables['params'])[1]

  leaves = jax.tree.leaves(jax.eval_shape(kept, variables, image))
  return sum(x.size * x.dtype.itemsize for x in leaves)


def test_each_level_of_remat_keeps_less():
  kept = [residual_bytes(remat) for remat in range(4)]
  assert kept == sorted(kept, reverse=True)
  assert len(set(kept)) == len(kept)
  assert kept[2] < kept[0] / 2


@pytest.mark.skipif(
  jax.__version_info__ < (0, 12),
  reason='older XLA for CPU undoes remat, as a common subexpression',
)
def test_a_batch_of_four_at_1024_and_width_64_fits_in_16_gib():
  state, step = make(depth=4, width=64, remat=4, axis_name=None)
  step = functools.partial(step, axis_name=None)
  batch = abstract_batch(size=1024, batch=4, devices=1)
  batch = {
    k: jax.ShapeDtypeStruct(v.shape[1:], v.dtype) for k, v in batch.items()
  }
  compiled = jax.jit(step, donate_argnums=0).lower(state, batch).compile()
  memory = compiled.memory_analysis()
  peak = memory.argument_size_in_bytes + memory.temp_size_in_bytes
  assert 2**33 < peak < 2**34


def test_the_loop_reads_the_devices_only_at_log_steps(load_config, monkeypatch):
  """Counts reads, since `jax.transfer_guard` sees nothing on a CPU."""
  config = load_config('multiclass:tiny', total_steps=25, eval_every=25)
  config.update(batch_size=4, image_size=16, save_every=25)
  config.model.update(depth=1)
  examples = [
    dict(
      image=np.zeros((16, 16, 3), np.uint8), label=np.zeros((16, 16), np.uint8)
    )
  ] * 4
  stats = sources.Stats(('a', 'b'), mean=(0.0,) * 3, std=(1.0,) * 3)
  dataset = sources.Dataset({'train': examples}, stats)
  run = setup.make_run(config, stats)
  steps_taken, read_at, waited_at = 0, [], []

  def train_step(state, batch):
    nonlocal steps_taken
    steps_taken += 1
    return run.train_step(state, batch)

  value = array.ArrayImpl._value

  def read(self):
    read_at.append(steps_taken)
    return value.fget(self)

  def wait(tree):
    waited_at.append(steps_taken)

  state = parallel.replicate(run.init())
  monkeypatch.setattr(array.ArrayImpl, '_value', property(read))
  monkeypatch.setattr(jax, 'block_until_ready', wait)
  monkeypatch.setattr(loop.checkpoint, 'save', lambda *args: None)
  loop.train(
    config,
    dataset,
    run._replace(train_step=train_step),
    state,
    steps_done=0,
    monitor=monitor.Monitor(),
    manager=None,
    log=types.SimpleNamespace(write=lambda *args: None),
  )
  assert steps_taken == 25
  assert set(read_at) == {10, 20, 25}
  assert waited_at == [1, 25]
