"""Asks for the names of the classes, and says what the masks suggest."""

import numpy as np

from unet_jax.data import scan, stored

LOOKED_AT = 20  # Masks.
MOST = 30  # Classes that are proposed.


def ask(scanned: scan.Files, kind: str) -> str:
  """Returns one line on how to name the classes of a folder.

  Args:
    scanned: the files of the folder.
    kind: how the masks are stored; the values of index masks are listed.
  """
  text = (
    f'no class names: list them in {scanned.root / "classes.txt"}, one name '
    'per line, or set config.data.classes'
  )
  paths = [files[0] for files in scanned.masks.get(scan.MASKS, {}).values()]
  if kind != 'index' or not paths:
    return text
  values: set[int] = set()
  for path in paths[:LOOKED_AT]:
    _, array = stored.read(path)
    if array.ndim != 2 or array.dtype.kind not in 'bui':
      return f'{text}; {path} is no index mask: set config.data.masks.kind'
    values |= set(np.unique(array).tolist())
  listed = ', '.join(str(int(value)) for value in sorted(values))
  text += f'; the first {min(len(paths), LOOKED_AT)} masks hold {listed}: '
  if values <= {0, 255}:
    return f'{text}use --config binary:folder'
  last = max(value for value in values if value != 255)
  if last > MOST:
    return f'{text}many for indices; set config.data.masks.kind'
  names = ','.join(f'class_{i}' for i in range(1, int(last) + 1))
  return f'{text}for instance --config.data.classes={names}'
