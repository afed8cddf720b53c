"""What a data layout offers before its masks are read as labels."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class Raw(NamedTuple):
  """An example as stored: `mask` is one array, or {folder: bool[H, W]}."""

  name: str
  image: np.ndarray  # uint8[H, W, C]
  mask: np.ndarray | Mapping[str, np.ndarray]
  where: str  # The mask's file, for messages.


class Layout(NamedTuple):
  """A data set found on disk; `keys` has `all` where nothing lists splits."""

  keys: dict[str, Sequence[Any]]
  read: Callable[[Any], Raw]
  classes: tuple[str, ...]
  root: str


def mask_folders(
  classes: Sequence[str], merge: Mapping[str, Sequence[str]]
) -> list[str]:
  """Returns the mask folders that the classes are made of."""
  return [name for label in classes for name in merge.get(label, (label,))]
