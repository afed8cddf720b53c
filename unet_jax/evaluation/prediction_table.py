"""predictions.csv: what predicted images hold, and what they were made from."""

import csv
import hashlib
import io
import pathlib
from collections.abc import Iterable, Mapping, Sequence

import jax
import numpy as np

from unet_jax import errors
from unet_jax.evaluation import measures, trained

# An image is predicted again unless its row has these values.
ORIGIN = ('bytes', 'modified', 'weights', 'options')
COLUMNS = (
  *('image', 'class', 'area', 'share', 'components', 'mean_probability'),
  *ORIGIN,
)

Row = Mapping[str, str]


def read(path: pathlib.Path) -> dict[str, list[Row]]:
  """Reads a table: the complete rows of each image, by its name; {} if none."""
  if not path.exists():
    return {}
  by_name: dict[str, list[Row]] = {}
  # Somebody may have saved it with another program.
  text = path.open(newline='', encoding='utf-8-sig', errors='replace')
  with text as file:
    for row in csv.DictReader(line.replace('\0', '') for line in file):
      if row.keys() == set(COLUMNS) and None not in row.values():
        by_name.setdefault(pathlib.Path(row['image']).stem, []).append(row)
  return by_name


def write(path: pathlib.Path, rows: Iterable[Row]) -> None:
  """Writes a table anew."""
  _write(path, 'w', ','.join(COLUMNS) + '\n' + _lines(rows))


def append(path: pathlib.Path, rows: Iterable[Row]) -> None:
  """Adds the rows of an image to a table, all at once."""
  _write(path, 'a', _lines(rows))


def rows(
  image: pathlib.Path,
  names: Sequence[str],
  measured: measures.Measures,
  origin: Row,
) -> list[Row]:
  """Returns the rows of an image, one a class.

  `area` counts pixels, `share` is their part of the image, `components` counts
  groups of pixels that share a side, and `mean_probability` is the mean over
  the area, empty without one.
  """
  result: list[Row] = []
  for k, name in enumerate(names):
    area = int(measured.area[k])
    mean = f'{measured.probability[k] / area:.4f}' if area else ''
    result.append(
      {
        'image': str(image),
        'class': name,
        'area': str(area),
        'share': f'{area / measured.pixels:.6g}',
        'components': str(measured.components[k]),
        'mean_probability': mean,
        **origin,
      }
    )
  return result


def agrees(rows: Sequence[Row], names: Sequence[str], origin: Row) -> bool:
  """Returns whether rows are those of all classes, and of this origin."""
  return [row['class'] for row in rows] == list(names) and all(
    row[key] == origin[key] for row in rows for key in ORIGIN
  )


def origin(image: Sequence[pathlib.Path], weights: str, options: str) -> Row:
  """Returns the values of ORIGIN for the files of an image."""
  stats = [path.stat() for path in image if path.exists()]
  return dict(
    bytes=str(sum(stat.st_size for stat in stats)),
    modified=str(max(stat.st_mtime_ns for stat in stats)),
    weights=weights,
    options=options,
  )


def name_weights(model: trained.Trained) -> str:
  """Returns the step of the weights and a digest of their values."""
  digest = hashlib.sha256()
  for leaf in jax.tree.leaves(jax.device_get(model.variables)):
    digest.update(np.ascontiguousarray(leaf).tobytes())
  return f'{model.step}-{digest.hexdigest()[:12]}'


def _lines(rows: Iterable[Row]) -> str:
  text = io.StringIO()
  csv.DictWriter(text, COLUMNS, lineterminator='\n').writerows(rows)
  return text.getvalue()


def _write(path: pathlib.Path, mode: str, text: str) -> None:
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open(mode, newline='', encoding='utf-8') as file:
      file.write(text)
  except OSError as error:
    raise errors.InputError(
      f'{path} cannot be written ({error.strerror or error})'
    ) from None
