"""Places training batches on the devices; host or device cuts the windows."""

import functools
from collections.abc import Iterator

import jax
import ml_collections

from unet_jax import build, errors, parallel
from unet_jax.data import crops, packed, pipeline, sources
from unet_jax.nn import windows

# Share of a device's memory that images may take; the step needs the rest.
SHARE = 0.25
MOST_PIXELS = 2**31 - 1  # Of all images together: their offsets are int32.


def batches(
  config: ml_collections.ConfigDict,
  dataset: sources.Dataset,
  where: str,
  *,
  first_step: int = 1,
) -> Iterator[dict[str, jax.Array]]:
  """Yields the batches of pipeline.train_batches, placed on the devices.

  Args:
    config: config of the run.
    dataset: data set of the run.
    where: `host`, or `device`: each device holds all training images and cuts
      its windows itself. Both give bit-identical batches.
    first_step: step of the first batch; steps count from 1.
  """
  if where == 'host':
    host = build.make_batches(config, dataset, first_step=first_step)
    return parallel.place_ahead(host)
  examples = packed.pack(list(dataset.splits['train']))
  shapes = [tuple(shape) for shape in examples.shape.tolist()]
  places = pipeline.train_places(
    shapes,
    build.make_sampling(config, dataset),
    batch_size=config.batch_size,
    first_step=first_step,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )
  placed = parallel.replicate(examples)
  side = build.window_size(config)
  cut = parallel.map_batches(functools.partial(windows.cut, side=side))
  return (cut(placed, batch) for batch in parallel.place_ahead(places))


def choose(config: ml_collections.ConfigDict, dataset: sources.Dataset) -> str:
  """Returns `host` or `device`: the config's choice, or the one that fits.

  Raises:
    InputError: if the config asks for the device, and the images don't fit.
  """
  if config.input == 'host':
    return 'host'
  if config.input == 'auto' and jax.default_backend() == 'cpu':
    return 'host'  # On CPU the host's memory is the device's memory.
  problem = find_problem(dataset.splits['train'])
  if config.input == 'device' and problem:
    raise errors.InputError(
      f'config.input is device, but {problem}; set config.input=host'
    )
  return 'host' if problem else 'device'


def find_problem(source: sources.Source) -> str:
  """Returns why a device can't hold all examples of a split; '' if it can."""
  if not source.is_kept():
    return 'the decoded images are too large to keep in memory'
  examples = list(source)
  num_pixels = sum(x['label'].shape[0] * x['label'].shape[1] for x in examples)
  if num_pixels > MOST_PIXELS:
    return f'the training images have {num_pixels} pixels, over 2**31 - 1'
  needed, memory = num_bytes(source), parallel.device_bytes()
  if memory and needed > SHARE * memory:
    return (
      f'the training images take {needed:.2g} bytes, over a quarter of the '
      f"device's {memory:.2g}"
    )
  return ''


def num_bytes(source: sources.Source) -> int:
  """Returns the bytes of all decoded images, labels and weights of a split."""
  arrays = (x[key] for x in source for key in crops.CROPPED if key in x)
  return sum(array.nbytes for array in arrays)
