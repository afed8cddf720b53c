"""Digests of a run's images, which must stay those that it began with.

Those are the images and masks of train and val as they are decoded; see
stats.digest.
"""

import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from unet_jax import errors, parallel, text_files

FILE = 'digests.json'  # In a run's folder.
LISTED = 5  # Names in a message.


def save(folder: pathlib.Path, images: Mapping[str, str]) -> None:
  """Writes the digest of each image."""
  text_files.write_text(folder / FILE, json.dumps(images, indent=0) + '\n')


def load(folder: pathlib.Path) -> dict[str, str]:
  """Reads what `save` wrote; returns {} if there is no file.

  Raises:
    InputError: if the file is damaged.
  """
  path = folder / FILE
  return text_files.read_json(path, 'remove it') if path.exists() else {}


def check(
  saved: Mapping[str, str], images: Mapping[str, str], root: str
) -> None:
  """Raises InputError, with their names, if images differ from the saved."""
  names = [x for x in {**saved, **images} if saved.get(x) != images.get(x)]
  if names:
    raise errors.InputError(
      f'{root}: {_list(names)}, or masks of the same names, are not those this '
      'run began with; restore them, or start over with --overwrite'
    )


def check_processes(images: Mapping[str, str]) -> None:
  """Raises InputError in all processes unless all have read equal images."""
  rows = [f'{name} {digest}'.encode() for name, digest in images.items()]
  counts = parallel.gather_hosts(np.array(len(rows), np.int32))
  if (counts == counts[0]).all():
    packed = b''.join(hashlib.sha256(row).digest() for row in rows)
    own = np.frombuffer(packed, np.uint8).reshape(len(rows), -1)
    digests = parallel.gather_hosts(own)  # uint8[processes, N, 32].
    texts = [
      _list([name for name, x in zip(images, is_other, strict=True) if x])
      for is_other in (digests != digests[0]).any(-1)
    ]
  else:
    texts = [f'{x} images' if x != counts[0] else '' for x in counts]
  differing = [f'process {i}: {text}' for i, text in enumerate(texts) if text]
  if differing:
    raise errors.InputError(
      'processes have not read the images of process 0, or not its masks: '
      f'{"; ".join(differing)}; give all processes the same files'
    )


def _list(names: Sequence[str]) -> str:
  """Returns 'images a, b and 3 more'; '' for no names."""
  if not names:
    return ''
  rest = f' and {len(names) - LISTED} more' if len(names) > LISTED else ''
  plural = 's' if len(names) > 1 else ''
  return f'image{plural} {", ".join(names[:LISTED])}{rest}'
