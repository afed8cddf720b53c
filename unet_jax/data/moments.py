"""Mean and deviation of one image, by which it alone is normalised."""

from collections.abc import Iterable, Mapping

import numpy as np

KEYS = ('mean', 'std')  # Of an example, if its image is normalised by them.
PERCENTILES = (0.5, 99.5)

Moments = dict[str, np.ndarray]  # {} where those of the data set serve.


def of_image(image: np.ndarray, how: str) -> Moments:
  """Returns what an image is shifted and divided by.

  Args:
    image: [H, W, C] as decoded, before it is scaled.
    how: `dataset`; `image`, the mean and standard deviation of each channel; or
      `percentile`, by which the percentiles 0.5 and 99.5 of each channel become
      0 and 1, as in CSBDeep (Weigert et al. 2018, doi:10.1038/
      s41592-018-0216-7).

  Returns:
    `mean` and `std`, float32[C], where a deviation of 0 is 1; {} for `dataset`.
  """
  if how == 'dataset':
    return {}
  if how == 'image':
    return of_strips([image])
  low, high = np.percentile(image, PERCENTILES, axis=(0, 1))
  return _pack(low, high - low)


def of_strips(strips: Iterable[np.ndarray]) -> Moments:
  """Returns the mean and deviation of an image in strips [rows, W, C]."""
  count, total, squares = 0, np.zeros(1), np.zeros(1)
  for strip in strips:
    values = strip.reshape(-1, strip.shape[-1]).astype(np.float64)
    count += len(values)
    total = total + values.sum(axis=0)
    squares = squares + np.square(values).sum(axis=0)
  mean = total / count
  return _pack(mean, np.sqrt(np.maximum(squares / count - mean**2, 0)))


def of_example(example: Mapping) -> Moments:
  """Returns the moments that an example has, or {}."""
  return {key: example[key] for key in KEYS if key in example}


def _pack(mean: np.ndarray, std: np.ndarray) -> Moments:
  std = np.where(std > 0, std, 1.0)
  return dict(mean=mean.astype(np.float32), std=std.astype(np.float32))
