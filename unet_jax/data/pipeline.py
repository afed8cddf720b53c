"""grain: examples -> batches that are the same for any number of processes."""

import collections
from collections.abc import Iterator, Sequence

import grain
import numpy as np

from unet_jax.data import labels

ROUND_TO = 64  # Sides of evaluated images are padded to this: few shapes.
# Samples of a stream. Grain's own endless one overflows in batches of one.
NO_END = 2**40
# Decoded ahead, in threads: grain's own 500 would be gigabytes.
AHEAD = grain.ReadOptions(num_threads=4, prefetch_buffer_size=8)


def train_batches(
  source: Sequence[dict],
  *,
  batch_size: int,
  image_size: int,
  seed: int,
  first_step: int,
  process_index: int = 0,
  process_count: int = 1,
) -> Iterator[dict[str, np.ndarray]]:
  """Yields this process's part of each global batch, from a step on.

  Args:
    source: random access to examples.
    batch_size: images of the global batch.
    image_size: side of the random crop.
    seed: of order and crops.
    first_step: steps count from 1; step s reads the stream's element s.
    process_index: of this process.
    process_count: its places are every `process_count`-th of the stream.

  Yields:
    image uint8[B, S, S, C], label uint8[B, S, S] or [B, S, S, K], and index
    int32[B], the sample's position in the global stream.
  """

  def crop(index: int, example: dict) -> dict:
    rng = np.random.default_rng((seed, index))
    image, label = random_crop(
      rng, example['image'], example['label'], image_size
    )
    return dict(image=image, label=label, index=np.int32(index))

  stream = _shuffled(source, seed)
  stream = stream.map_with_index(crop)[process_index::process_count]
  batches = stream.batch(batch_size // process_count)[first_step - 1 :]
  return iter(batches.to_iter_dataset(AHEAD))


def names(
  source: Sequence[dict], *, seed: int, positions: Sequence[int]
) -> dict[int, str]:
  """Finds the examples at positions of `train_batches`' global stream."""
  stream = _shuffled(source, seed)
  return {int(i): stream[int(i)]['name'] for i in positions}


def _shuffled(source: Sequence[dict], seed: int) -> grain.MapDataset:
  stream = grain.MapDataset.source(source).seed(seed).shuffle()
  return stream.repeat(NO_END // len(source))


def random_crop(
  rng: np.random.Generator, image: np.ndarray, label: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
  """Cuts a random square; where the image is smaller, pads it with void."""
  height, width = image.shape[:2]
  image, label = pad(image, label, max(size, height), max(size, width))
  top = rng.integers(image.shape[0] - size + 1)
  left = rng.integers(image.shape[1] - size + 1)
  window = (slice(top, top + size), slice(left, left + size))
  return image[window], label[window]


def pad(
  image: np.ndarray, label: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
  """Pads below and to the right: with the image's edge, and void labels."""
  rows, cols = height - image.shape[0], width - image.shape[1]
  if not rows and not cols:
    return image, label
  spread = ((0, rows), (0, cols))
  image = np.pad(image, (*spread, (0, 0)), mode='edge')
  more = ((0, 0),) * (label.ndim - 2)
  return image, np.pad(label, (*spread, *more), constant_values=labels.VOID)


def eval_batches(
  source: Sequence[dict],
  *,
  max_pixels: int,
  num_devices: int = 1,
  process_index: int = 0,
  process_count: int = 1,
) -> Iterator[dict[str, np.ndarray]]:
  """Yields this process's part of batches that hold every image once.

  Whole images are padded to multiples of 64 and batched with those of their
  padded size; a batch that isn't full is filled up with images of weight 0.

  Args:
    source: random access to examples.
    max_pixels: of a batch; a larger image comes alone, one a device.
    num_devices: of all processes; every batch divides by it.
    process_index: of this process.
    process_count: each takes its stretch of every batch.

  Yields:
    image uint8[B, H, W, C], label uint8[B, H, W] or [B, H, W, K], index
    int32[B], the place in the split, and weight float32[B], 0 for filling.
  """
  waiting = collections.defaultdict(list)
  stream = grain.MapDataset.source(source).map_with_index(_padded)
  part = (process_index, process_count)
  for example in stream.to_iter_dataset(AHEAD):
    height, width = shape = example['image'].shape[:2]
    rounds = max(1, max_pixels // (height * width * num_devices))
    size = rounds * num_devices
    waiting[shape].append(example)
    if len(waiting[shape]) == size:
      yield _stack(waiting.pop(shape), size, *part)
  for examples in waiting.values():
    size = -(-len(examples) // num_devices) * num_devices
    yield _stack(examples, size, *part)


def _padded(index: int, example: dict) -> dict:
  height, width = (
    -(-side // ROUND_TO) * ROUND_TO for side in example['image'].shape[:2]
  )
  image, label = pad(example['image'], example['label'], height, width)
  return dict(
    image=image, label=label, index=np.int32(index), weight=np.float32(1)
  )


def _stack(examples: list[dict], size: int, process: int, count: int) -> dict:
  filling = {key: np.zeros_like(value) for key, value in examples[0].items()}
  examples = examples + [filling] * (size - len(examples))
  share = size // count
  mine = examples[process * share : (process + 1) * share]
  return {key: np.stack([e[key] for e in mine]) for key in filling}
