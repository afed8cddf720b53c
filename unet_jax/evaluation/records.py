"""What an evaluation measured: `evaluation/<split>.npz`, and a row an image.

Scores of any kind, intervals and comparisons are computed from these integers
alone, without the model and the images.
"""

import csv
import io
import math
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from unet_jax import errors, text_files
from unet_jax.evaluation import scores

CELLS = ('tp', 'fp', 'fn', 'tn')
NOTHING = np.zeros(0, np.int64)


class Record(NamedTuple):
  """Measures of a split: N images, K planes, F of them foreground.

  An array that was not measured has no element: the matrix of overlapping
  classes; outlines, objects and levels in training. Variants are other ways to
  count, such as at 1/2 where thresholds decide; see measuring.
  """

  names: Sequence[str]  # [N], in the split's order.
  groups: Sequence[str]  # [N], such as the images' patients.
  planes: Sequence[str]  # [K]
  num_foreground: int  # F; the foreground classes are the last planes.
  step: int  # The checkpoint's.
  counts: np.ndarray  # int64[N, K, 4] of tp, fp, fn, tn.
  matrix: np.ndarray  # int64[N, K, K], see matrix.count.
  histogram: np.ndarray  # int64[K, 2, BINS], see curves.
  outlines: np.ndarray  # float64[N, F, 4], surface.NAMES; NaN: undefined.
  objects: np.ndarray  # int64[N, F, 5], see objects.count.
  levels: np.ndarray  # int64[N, F, L, 5], see objects.count_levels.
  variants: Sequence[str] = ()  # [V]
  variant_counts: np.ndarray = NOTHING  # int64[V, N, K, 4], like counts.


def write(record: Record, path: pathlib.Path) -> None:
  """Writes a record as a .npz, atomically."""
  path.parent.mkdir(parents=True, exist_ok=True)
  archive = io.BytesIO()
  np.savez_compressed(archive, **record._asdict())
  text_files.write_bytes(path, archive.getvalue())


def read(path: pathlib.Path) -> Record:
  """Reads a record.

  Raises:
    InputError: if the file is missing or damaged.
  """
  try:
    # NumPy leaves a damaged file open if it gets a path.
    with path.open('rb') as file, np.load(file) as arrays:
      # Earlier versions had no variants.
      values = {
        key: arrays[key]
        for key in Record._fields
        if key in arrays or key not in Record._field_defaults
      }
  except Exception as error:  # A damaged archive raises nearly anything.
    raise errors.InputError(
      f'{path} cannot be read ({error}); write it anew with '
      f'python -m unet_jax.evaluate --workdir {path.parents[1]} '
      f'--split {path.stem}'
    ) from None
  lists = {
    key: values[key].tolist()
    for key in ('names', 'groups', 'planes', 'variants')
    if key in values
  }
  numbers = {key: int(values[key]) for key in ('num_foreground', 'step')}
  return Record(**(values | lists | numbers))


def rank(record: Record) -> list[tuple[int, float]]:
  """Returns each image's index and macro F1, the worst first.

  Images whose score is undefined are left out.
  """
  foreground = record.counts[:, -record.num_foreground :]
  f1 = scores.means(foreground)['macro']['f1']
  order = [int(i) for i in np.argsort(f1, kind='stable') if np.isfinite(f1[i])]
  return [(i, float(f1[i])) for i in order]


def extremes(order: Sequence[int], most: int) -> dict[str, list[int]]:
  """Returns the worst, the median and the best of a ranking.

  Args:
    order: images, the worst first.
    most: largest number of each; fewer if there are less than three times as
      many images.
  """
  num = min(most, max(1, len(order) // 3))
  middle = (len(order) - num) // 2
  chosen: dict[str, list[int]] = {}
  for kind, part in (
    ('worst', order[:num]),
    ('median', order[middle : middle + num]),
    ('best', order[-num:]),
  ):
    earlier = {i for images in chosen.values() for i in images}
    chosen[kind] = [i for i in part if i not in earlier]
  return chosen


def write_csv(record: Record, path: pathlib.Path) -> None:
  """Writes a row for each image: its macro F1, and each class's scores.

  An undefined score is an empty cell.
  """
  foreground = record.counts[:, -record.num_foreground :]
  macro = scores.means(foreground)['macro']
  columns: dict[str, Any] = dict(image=record.names, group=record.groups)
  columns |= {f'macro_{name}': macro[name] for name in ('f1', 'iou')}
  for k, plane in enumerate(record.planes):
    counts = record.counts[:, k]
    columns |= {
      f'{name}_{plane}': x for name, x in scores.ratios(counts).items()
    }
    columns |= {
      f'{cell}_{plane}': x for cell, x in zip(CELLS, counts.T, strict=True)
    }
  text = io.StringIO()
  table = csv.writer(text, lineterminator='\n')
  table.writerow(columns)
  for row in zip(*columns.values(), strict=True):
    table.writerow([_cell(value) for value in row])
  text_files.write_text(path, text.getvalue())


def _cell(value) -> str:
  if isinstance(value, float):
    return '' if math.isnan(value) else f'{value:.6f}'
  return str(value)
