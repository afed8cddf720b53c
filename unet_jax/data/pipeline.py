"""grain: examples -> batches that are the same for any number of processes."""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import grain
import numpy as np

from unet_jax.data import crops, moments, sources

# Samples of a stream. Grain's endless stream overflows with batches of 1.
NO_END = 2**40
# Examples decoded ahead, in threads; grain's default of 500 takes gigabytes.
AHEAD = grain.ReadOptions(num_threads=4, prefetch_buffer_size=8)


class Sampling(NamedTuple):
  """Decides, with the position in the stream, where a sample is cut.

  Attributes:
    image_size: side of the random crop.
    window_size: W, side of the larger window around the crop, which the host
      cuts and the device rotates and deforms.
    seed: of the order and the crops.
    table: pixels of each class, from `crops.make_table`.
    foreground_share: share of the samples cropped around a pixel of `table`.
  """

  image_size: int
  window_size: int
  seed: int
  table: Sequence = ()
  foreground_share: float = 0.0


def train_batches(
  source: sources.Examples,
  sampling: Sampling,
  *,
  batch_size: int,
  first_step: int = 1,
  process_index: int = 0,
  process_count: int = 1,
) -> Iterator[dict[str, np.ndarray]]:
  """Yields this process's part of each global batch, from `first_step` on.

  Args:
    source: random access to examples.
    sampling: where the samples are cut.
    batch_size: images of the global batch.
    first_step: steps count from 1; step s reads the stream's element s.
    process_index: index of this process.
    process_count: number of processes; this one takes every
      `process_count`-th position of the stream.

  Yields:
    image [B, W, W, C], label uint8[B, W, W] or [B, W, W, K], and index
    int32[B], the sample's position in the global stream; where the examples
    have them, also weight_map float32[B, W, W], and mean and std float32[B, C].
  """
  choose = _chooser(len(source), sampling)

  def crop(index: int) -> dict:
    rng, i, pixel = choose(index)
    example = source[i]
    shape = example['label'].shape[:2]
    top, left = _window_corner(rng, pixel, shape, sampling)
    uncut = {key: example[key] for key in crops.CROPPED if key in example}
    side = sampling.window_size
    arrays = crops.cut(*uncut.values(), top=top, left=left, side=side)
    cut = dict(zip(uncut, arrays, strict=True), index=np.int32(index))
    return cut | moments.of_example(example)

  part = (process_index, process_count)
  return _batches(crop, batch_size, first_step, part)


def train_places(
  shapes: Sequence[tuple[int, int]],
  sampling: Sampling,
  *,
  batch_size: int,
  first_step: int = 1,
  process_index: int = 0,
  process_count: int = 1,
) -> Iterator[dict[str, np.ndarray]]:
  """Yields where `train_batches` cuts its windows, without the pixels.

  Args:
    shapes: height and width of each example.
    sampling: where the samples are cut.
    batch_size: images of the global batch.
    first_step: step of the first batch.
    process_index: index of this process.
    process_count: number of processes.

  Yields:
    int32[B] each: `example`, the window's `top` and `left`, which may lie
    outside the image, and `index`.
  """
  choose = _chooser(len(shapes), sampling)

  def place(index: int) -> dict:
    rng, i, pixel = choose(index)
    top, left = _window_corner(rng, pixel, shapes[i], sampling)
    place = dict(example=i, top=top, left=left, index=index)
    return {key: np.int32(value) for key, value in place.items()}

  part = (process_index, process_count)
  return _batches(place, batch_size, first_step, part)


def _batches(
  sample: Callable[[int], dict],
  batch_size: int,
  first_step: int,
  part: tuple[int, int],
) -> Iterator[dict[str, np.ndarray]]:
  """Batches sample(position) over one part of an endless stream."""
  index, count = part
  stream = grain.MapDataset.range(NO_END).map(sample)[index::count]
  batches = stream.batch(batch_size // count)[first_step - 1 :]
  return iter(batches.to_iter_dataset(AHEAD))


def names(
  source: sources.Examples, sampling: Sampling, positions: Iterable[int]
) -> dict[int, str]:
  """Returns {position: example's name} in `train_batches`' global stream."""
  choose = _chooser(len(source), sampling)
  return {int(i): source[choose(int(i))[1]]['name'] for i in positions}


def _chooser(num: int, sampling: Sampling) -> Callable:
  """Builds position -> its random generator, example, and pixel or None."""
  table, seed = sampling.table, sampling.seed
  share = sampling.foreground_share if any(table) else 0.0

  def choose(index: int) -> tuple[np.random.Generator, int, int | None]:
    rng = np.random.default_rng((seed, index))
    if crops.is_foreground(index, share):
      return rng, *crops.draw_place(rng, table)
    return rng, int(_order(num, seed, index // num)[index % num]), None

  return choose


def _window_corner(
  rng: np.random.Generator,
  pixel: int | None,
  shape: tuple[int, int],
  sampling: Sampling,
) -> tuple[int, int]:
  """Draws a crop of an image [H, W]; returns the window's top left corner."""
  size = sampling.image_size
  if pixel is None:
    top, left = crops.anywhere(rng, shape, size)
  else:
    top, left = crops.about(rng, pixel, shape, size)
  margin = (sampling.window_size - size) // 2
  return top - margin, left - margin


@functools.lru_cache(maxsize=4)
def _order(num: int, seed: int, epoch: int) -> np.ndarray:
  """Shuffles an epoch: int64[num].

  Grain's own shuffle of 3 images takes 6 ms per sample.
  """
  # The last number keeps this seed apart from the seeds of the crops.
  return np.random.default_rng((seed, epoch, 1)).permutation(num)


def pad(
  image: np.ndarray, label: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
  """Pads [H, W, C] and [H, W] or [H, W, K] below and to the right.

  See `crops.pad`.
  """
  rows, cols = height - image.shape[0], width - image.shape[1]
  image, label = crops.pad(image, label, around=((0, rows), (0, cols)))
  return image, label


def eval_examples(source: sources.Examples) -> Iterator[dict]:
  """Yields every example once, in order, decoded ahead in threads.

  Yields:
    The example, and `index`, its place in the split.
  """
  stream = grain.MapDataset.source(source).map_with_index(
    lambda index, example: example | dict(index=index)
  )
  return iter(stream.to_iter_dataset(AHEAD))


def stack(
  samples: Iterable[dict[str, np.ndarray]],
  size: int,
  *,
  process_index: int = 0,
  process_count: int = 1,
) -> Iterator[dict[str, np.ndarray]]:
  """Yields this process's part of batches of `size` samples, in order.

  Zeros, and deviations of 1, fill the last batch, so that their `weight`, if
  they have one, is 0.

  Args:
    samples: dicts of arrays, each with the same shapes.
    size: number of samples of a batch of all processes.
    process_index: index of this process.
    process_count: number of processes; each takes a contiguous part of every
      batch.
  """
  samples, share = iter(samples), size // process_count
  mine = slice(process_index * share, (process_index + 1) * share)
  while batch := list(itertools.islice(samples, size)):
    # A deviation of 0 would make NaN, which no weight takes away.
    filling = {k: np.full_like(x, k == 'std') for k, x in batch[0].items()}
    batch += [filling] * (size - len(batch))
    yield {key: np.stack([x[key] for x in batch[mine]]) for key in filling}
