"""Devices and processes: mapping a step over them, placing its arguments."""

import collections
import functools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from unet_jax import compiler, errors

AHEAD = 2  # Batches.
AXIS = 'data'


@functools.cache
def make_mesh() -> jax.sharding.Mesh:
  """Returns all devices of all processes, as one axis."""
  shape = (jax.device_count(),)
  return jax.make_mesh(shape, (AXIS,), axis_types=(AxisType.Auto,))


def map_step(step: Callable, *, donate: bool = False) -> jax.stages.Wrapped:
  """Maps (replicated, batch) -> replicated over every device, and compiles.

  Args:
    step: runs on one device; `AXIS` names all of them for collectives.
    donate: whether the first argument's memory is used for the result.

  Returns:
    A function of a tree placed by `replicate` and a batch by `place_batch`.
  """
  options = compiler.options()
  if jax.process_count() > 1 or options:
    return shard_step(step, make_mesh(), donate=donate, options=options)
  return jax.pmap(
    step,
    axis_name=AXIS,
    in_axes=(None, 0),
    out_axes=(None, None) if donate else None,
    donate_argnums=(0,) if donate else (),
  )


def shard_step(
  step: Callable,
  mesh: jax.sharding.Mesh,
  *,
  donate: bool = False,
  options: dict[str, Any] | None = None,
) -> jax.stages.Wrapped:
  """Does what `jax.pmap` does, spelt out, with XLA's options for a program.

  Across processes pmap with donation fails at its second call, and what it
  returns is local to a process, which orbax can't save; and pmap takes no
  options. This form also lowers for devices that aren't there.
  """
  mapped = jax.shard_map(
    lambda state, batch: step(state, jax.tree.map(lambda x: x[0], batch)),
    mesh=mesh,
    in_specs=(P(), P(AXIS)),
    out_specs=P(),
    check_vma=False,
  )
  return jax.jit(
    mapped,
    donate_argnums=(0,) if donate else (),
    compiler_options=options,
  )


def on_host(function: Callable[[], Any]) -> Any:
  """Runs a compiled function on the CPU, where XLA has a backend for it.

  With `jax.random.key(impl='rbg')` other devices draw other numbers, and a GPU
  takes seconds to compile what runs once.

  Returns:
    What the function returns; with other devices than CPUs its arrays are
    NumPy's, but for keys.
  """
  if jax.default_backend() == 'cpu' or not _has_cpu():
    return function()
  with jax.default_device(jax.local_devices(backend='cpu')[0]):
    tree = function()
  return jax.tree.map(_fetch, tree)


def _has_cpu() -> bool:
  try:
    return bool(jax.local_devices(backend='cpu'))
  except RuntimeError:  # JAX_PLATFORMS names no cpu.
    return False


def _fetch(x: jax.Array) -> jax.Array | np.ndarray:
  if not jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
    return jax.device_get(x)
  data = jax.device_get(jax.random.key_data(x))
  return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))


def map_batches(function: Callable) -> Callable:
  """Maps (replicated, batch) -> batch over every device, and compiles.

  Args:
    function: (tree, one device's part of a batch) -> another such part.

  Returns:
    A function of a tree placed by `replicate` and a batch by `place_batch`.
  """
  sharding = NamedSharding(make_mesh(), P(AXIS))
  return jax.jit(jax.vmap(function, (None, 0)), out_shardings=sharding)


def replicate(tree: Any) -> Any:
  """Places the same arrays on every device, so that a step finds them there."""
  # device_put refuses the devices of other processes for some arrays.
  sharding = NamedSharding(make_mesh(), P())
  return jax.jit(lambda tree: tree, out_shardings=sharding)(tree)


def abstract(tree: Any) -> Any:
  """Returns shapes and types as `replicate` would place them."""
  sharding = NamedSharding(make_mesh(), P())
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
  )


def abstract_batch(
  sample: dict[str, jax.ShapeDtypeStruct], batch_size: int
) -> dict[str, jax.ShapeDtypeStruct]:
  """Returns what `place_batch` makes of so many such samples, abstractly."""
  sharding = NamedSharding(make_mesh(), P(AXIS))
  lead = (jax.device_count(), batch_size // jax.device_count())
  return {
    key: jax.ShapeDtypeStruct((*lead, *x.shape), x.dtype, sharding=sharding)
    for key, x in sample.items()
  }


def place_batch(batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
  """Spreads this process's part [B, ...] of a batch as [devices, b, ...]."""
  sharding = NamedSharding(make_mesh(), P(AXIS))
  local = jax.local_device_count()

  def place(array: np.ndarray) -> jax.Array:
    array = array.reshape(local, -1, *array.shape[1:])
    return jax.make_array_from_process_local_data(sharding, array)

  return jax.tree.map(place, batch)


def place_ahead(
  batches: Iterable[dict[str, np.ndarray]],
) -> Iterator[dict[str, jax.Array]]:
  """Places each batch, [B, ...] -> [devices, b, ...], ahead of its use."""
  placed: collections.deque[dict[str, jax.Array]] = collections.deque()
  for batch in batches:
    placed.append(place_batch(batch))
    if len(placed) > AHEAD:
      yield placed.popleft()
  yield from placed


def num_devices() -> int:
  """Returns how many devices there are, of all processes."""
  return jax.device_count()


def check_batch(batch_size: int, accumulate: int) -> None:
  """Raises InputError unless devices and turns get equal shares of a batch."""
  count = jax.device_count()
  if batch_size % (count * accumulate):
    turns = f' times config.optim.accumulate={accumulate}'
    raise errors.InputError(
      f'config.batch_size is {batch_size}; it must be a multiple of the '
      f'{count} devices{turns if accumulate > 1 else ""}'
    )


def describe_devices() -> str:
  """Says how many devices of which kind there are."""
  text = f'{jax.device_count()} x {jax.devices()[0].device_kind}'
  if jax.process_count() > 1:
    text += f' over {jax.process_count()} processes'
  if jax.default_backend() == 'cpu':
    text += ' (no GPU found)'
  return text


def is_first() -> bool:
  """Tells whether this process is the one that writes."""
  return jax.process_index() == 0


def wait(name: str) -> None:
  """Lets every process come to this point before any goes on."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)


def first_before_others(function: Callable[[], Any]) -> Any:
  """Calls it on the first process, then, once that is done, on the others."""
  if not is_first():
    wait('first')
    return function()
  try:
    return function()
  finally:
    wait('first')  # Also when it failed: the others will find the same.


def say(text: str) -> None:
  """Prints plain text, once for all processes."""
  if is_first():
    print(text, flush=True)


def join(coordinator: str, num_processes: int, process_id: int) -> None:
  """Joins the run's other processes; under SLURM JAX finds them itself."""
  if not 0 <= process_id < num_processes:
    raise errors.InputError(
      f'--process_id {process_id}: it must be from 0 to --num_processes - 1'
    )
  if coordinator:
    jax.distributed.initialize(coordinator, num_processes, process_id)
  elif num_processes > 1:
    raise errors.InputError(
      f'--num_processes {num_processes} needs --coordinator HOST:PORT'
    )
  elif int(os.environ.get('SLURM_STEP_NUM_TASKS', '1')) > 1:
    jax.distributed.initialize()
