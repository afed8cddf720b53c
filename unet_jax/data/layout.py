"""A data set on disk, before its masks are read as labels."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from unet_jax.data import image_kinds, labels, moments
from unet_jax.data.spec import Masks


class Raw(NamedTuple):
  """An example as stored."""

  name: str
  image: np.ndarray  # [H, W, C], of a type of image_kinds.DTYPES.
  mask: labels.Mask | labels.Decoded  # Decoded if a file has the label.
  where: str  # The mask's file, for messages.
  field: np.ndarray | None = None  # bool[H, W], the field of view.
  weight_map: np.ndarray | None = None  # float32[H, W]: files.read_weights.
  own: moments.Moments = {}  # If a file has them.


class Layout(NamedTuple):
  """A data set; `keys` has the one split `all` if no splits are listed."""

  keys: Mapping[str, Sequence[str]]
  read: Callable[[str], Raw]
  classes: tuple[str, ...]
  root: str
  kind: image_kinds.Kind  # Of the images.
  notes: tuple[str, ...] = ()  # Lines for the user to read before training.


def mask_folders(masks: Masks, classes: Sequence[str]) -> list[str]:
  """Returns the mask folders of which the classes and void are made."""
  used = [name for k in classes for name in masks.merge.get(k, (k,))]
  return list(dict.fromkeys((*used, *masks.void)))
