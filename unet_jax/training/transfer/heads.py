"""Maps the output planes of one model's head to another's, class by class."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from unet_jax import errors
from unet_jax.data import labels


class HeadMap(NamedTuple):
  """New planes as sums of old ones: kernel @ matrix, bias @ matrix + shift."""

  matrix: np.ndarray  # float32[K old, K new]
  shift: np.ndarray  # float32[K new]
  is_fresh: np.ndarray  # bool[K new]: planes that keep their initial weights.
  text: str  # Describes the map to the user.


def map_head(
  new: labels.ClassSpec, old: labels.ClassSpec, classes: Mapping[str, str]
) -> HeadMap | None:
  """Maps the planes of an old head to those of a new head.

  A new class without an old class starts fresh. In a softmax, n new classes
  that share an old class get its logit minus log n, so that their probabilities
  add up to the old one. From sigmoids to a softmax the background's logit is 0,
  because softmax of (0, z) is sigmoid of z. From a softmax to sigmoids the
  background's logit is subtracted from the logit of each class, which is exact
  if there is only one class.

  Args:
    new: classes of the new run.
    old: classes of the other run.
    classes: new name -> old name, or '' for a fresh class; a class that has the
      same name in both runs needs no entry.

  Returns:
    The map, or None if every class is fresh.

  Raises:
    InputError: for an unknown class.
  """
  names, known = (x.planes[-x.num_foreground :] for x in (new, old))
  for name, source in classes.items():
    if name not in names:
      raise errors.InputError(
        f'config.transfer.classes has {name}; the classes are '
        f'{", ".join(names)}'
      )
    if source and source not in known:
      raise errors.InputError(
        f'config.transfer.classes.{name} is {source}; the classes of the other '
        f"run are {', '.join(known)}, and '' starts a fresh class"
      )
  sources = [classes.get(n, n if n in known else '') for n in names]
  if not any(sources):
    return None
  matrix = np.zeros((len(old.planes), len(new.planes)), np.float32)
  shift = np.zeros(len(new.planes), np.float32)
  is_fresh = np.zeros(len(new.planes), bool)
  if new.exclusive:
    matrix[0, 0] = old.exclusive
  for plane, source in enumerate(sources, start=int(new.exclusive)):
    is_fresh[plane] = not source
    if source:
      matrix[old.planes.index(source), plane] = 1
      if new.exclusive:
        shift[plane] = -math.log(sources.count(source))
      elif old.exclusive:
        matrix[0, plane] = -1
  text = ', '.join(
    f'{name} from {source}' if source else f'{name} fresh'
    for name, source in zip(names, sources, strict=True)
  )
  if new.exclusive and not old.exclusive:
    text += ', background zero'
  return HeadMap(matrix, shift, is_fresh, text)
