"""Devices and processes: maps a step over them and places its arguments."""

import collections
import functools
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from unet_jax import compiler, errors, peers

AHEAD = 2  # Batches to place on the devices before they are used (prefetch).
AXIS = 'data'  # The mapped axis: all devices.
CGROUP = pathlib.Path('/sys/fs/cgroup/memory.max')  # A container's limit.


@functools.cache
def make_mesh() -> jax.sharding.Mesh:
  """Returns a mesh of all devices of all processes, with one axis."""
  shape = (jax.device_count(),)
  return jax.make_mesh(shape, (AXIS,), axis_types=(AxisType.Auto,))


def map_step(step: Callable, *, donate: bool = False) -> jax.stages.Wrapped:
  """Maps a step over all devices, and compiles it.

  Args:
    step: (state, one device's part of a batch) -> a tree that is equal on all
      devices. Its collectives use the axis `AXIS`.
    donate: whether to donate the state's memory to the result.

  Returns:
    A compiled function of a tree placed by `replicate` and a batch placed by
    `place_batch`; its result is replicated.
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
  """Maps a step like `map_step`, by `jax.shard_map` instead of `jax.pmap`.

  pmap takes no compiler options. Across processes pmap with donation fails at
  its second call, and its results are local to a process, which orbax can't
  save. This form can also be lowered for devices that this machine lacks.

  Args:
    step: see `map_step`.
    mesh: the devices.
    donate: see `map_step`.
    options: XLA's compiler options.
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
  """Runs a compiled function on the CPU if JAX has a CPU backend.

  With `jax.random.key(impl='rbg')` the numbers depend on the kind of device,
  and a GPU takes seconds to compile a function that runs once.

  Returns:
    The function's result. If the default backend is not the CPU, its arrays are
    NumPy arrays, except for random keys.
  """
  if jax.default_backend() == 'cpu' or not _has_cpu():
    return function()
  with jax.default_device(jax.local_devices(backend='cpu')[0]):
    tree = function()
  return jax.tree.map(_fetch, tree)


def _has_cpu() -> bool:
  try:
    return bool(jax.local_devices(backend='cpu'))
  except RuntimeError:  # JAX_PLATFORMS excludes the CPU.
    return False


def _fetch(x: jax.Array) -> jax.Array | np.ndarray:
  if not jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
    return jax.device_get(x)
  bits = jax.device_get(jax.random.key_data(x))
  return jax.random.wrap_key_data(bits, impl=jax.random.key_impl(x))


def map_batches(function: Callable) -> jax.stages.Wrapped:
  """Maps a function from batch to batch over all devices, and compiles it.

  Args:
    function: (tree, one device's part of a batch) -> the same part of a new
      batch.

  Returns:
    A compiled function of a tree placed by `replicate` and a batch placed by
    `place_batch`; its result is placed like the batch.
  """

  def on_device(tree: Any, batch: Any) -> Any:
    part = function(tree, jax.tree.map(lambda x: x[0], batch))
    return jax.tree.map(lambda x: x[None], part)

  mapped = jax.shard_map(
    on_device,
    mesh=make_mesh(),
    in_specs=(P(), P(AXIS)),
    out_specs=P(AXIS),
    check_vma=False,
  )
  return jax.jit(mapped, compiler_options=compiler.options())


def replicate(tree: Any) -> Any:
  """Copies a tree of arrays to every device."""
  # For some arrays device_put refuses devices of other processes; jit doesn't.
  sharding = NamedSharding(make_mesh(), P())
  return jax.jit(lambda tree: tree, out_shardings=sharding)(tree)


def abstract(tree: Any) -> Any:
  """Returns the shapes, dtypes and shardings that `replicate` would give."""
  sharding = NamedSharding(make_mesh(), P())
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
  )


def abstract_batch(
  sample: dict[str, jax.ShapeDtypeStruct], batch_size: int
) -> dict[str, jax.ShapeDtypeStruct]:
  """Returns the shapes, dtypes and shardings that `place_batch` would give.

  Args:
    sample: shape and dtype of one sample's arrays.
    batch_size: number of samples of the global batch.
  """
  sharding = NamedSharding(make_mesh(), P(AXIS))
  lead = (jax.device_count(), batch_size // jax.device_count())
  return {
    key: jax.ShapeDtypeStruct((*lead, *x.shape), x.dtype, sharding=sharding)
    for key, x in sample.items()
  }


def place_batch(batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
  """Shards this process's part [B, ...] of a batch as [devices, b, ...]."""
  sharding = NamedSharding(make_mesh(), P(AXIS))
  local = jax.local_device_count()

  def place(array: np.ndarray) -> jax.Array:
    array = array.reshape(local, -1, *array.shape[1:])
    return jax.make_array_from_process_local_data(sharding, array)

  return jax.tree.map(place, batch)


def ahead(items: Iterable[Any]) -> Iterator[Any]:
  """Yields items; the next AHEAD have then been made, too.

  JAX does not wait for the devices, so that they load or compute the next items
  while one is used.
  """
  made: collections.deque[Any] = collections.deque()
  for item in items:
    made.append(item)
    if len(made) > AHEAD:
      yield made.popleft()
  yield from made


def place_ahead(
  batches: Iterable[dict[str, np.ndarray]],
) -> Iterator[dict[str, jax.Array]]:
  """Yields batches placed by `place_batch`; the next AHEAD are placed, too."""
  return ahead(map(place_batch, batches))


def gather(tree: Any) -> Any:
  """Copies a tree that `map_batches` has made to the host of every process.

  Returns:
    NumPy arrays; the axis of the devices is merged with that of the samples.
  """
  arrays = multihost_utils.process_allgather(tree, tiled=True)
  return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), arrays)


def gather_hosts(array: np.ndarray) -> np.ndarray:
  """Returns the arrays of all processes, which have equal shapes, stacked."""
  return multihost_utils.process_allgather(array[None], tiled=True)


def device_bytes() -> int:
  """Returns the memory of one device; 0 if it is unknown.

  CPU devices share the memory of the machine, or of the container.
  """
  device = jax.local_devices()[0]
  if device.platform != 'cpu':
    return (device.memory_stats() or {}).get('bytes_limit', 0)
  total = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
  limit = CGROUP.read_text().strip() if CGROUP.exists() else 'max'
  if limit != 'max':
    total = min(total, int(limit))
  return total // jax.local_device_count()


def num_devices() -> int:
  """Returns the number of devices of all processes."""
  return jax.device_count()


def check_batch(batch_size: int, accumulate: int) -> None:
  """Raises InputError unless a batch divides evenly.

  Args:
    batch_size: number of samples of the global batch.
    accumulate: number of micro-batches into which each device splits its part.
  """
  count = jax.device_count()
  if batch_size % (count * accumulate):
    factor = f' times config.optim.accumulate={accumulate}'
    raise errors.InputError(
      f'config.batch_size is {batch_size}; it must be a multiple of the '
      f'{count} devices{factor if accumulate > 1 else ""}'
    )


def describe_devices() -> str:
  """Returns the number and kind of the devices, such as '4 x NVIDIA H100'."""
  text = f'{jax.device_count()} x {jax.devices()[0].device_kind}'
  if jax.process_count() > 1:
    text += f' over {jax.process_count()} processes'
  if jax.default_backend() == 'cpu':
    text += ' (no GPU found)'
  return text


def is_first() -> bool:
  """Returns whether this is the process that writes logs and files."""
  return peers.index() == 0


def wait(name: str) -> None:
  """Waits until every process has reached this point, called `name`."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)


def first_before_others(function: Callable[[], Any]) -> Any:
  """Calls a function on the first process, and afterwards on the others."""
  if not is_first():
    wait('first')
    return function()
  try:
    return function()
  finally:
    # Even after an error, so that the others run into the same error.
    wait('first')


def say(text: str) -> None:
  """Prints text on the first process only."""
  if is_first():
    print(text, flush=True)
