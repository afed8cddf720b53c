"""Masks as stored -> labels: a class index or planes, uint8, 255 = void."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from unet_jax.data import codes, planes, values
from unet_jax.data.spec import Spec

VOID, CERTAIN = codes.VOID, codes.CERTAIN

# A mask as stored: one array, or planes [H, W] by their folder or number.
Mask: TypeAlias = (
  np.ndarray | Mapping[str, np.ndarray] | Mapping[int, np.ndarray]
)


class Coding(NamedTuple):
  """What the masks of a data set mean."""

  encoding: str  # binary | index | color | folders | planes
  task: str  # binary | multiclass | multilabel
  classes: tuple[str, ...]  # Foreground.
  background: str  # Its name, or '' where every pixel is of a class.
  merge: Mapping[str, Sequence]  # Class -> what it is made of.
  void: tuple  # What counts nowhere.
  threshold: int
  soft: int  # Value that means 1 where labels are probabilities; else 0.
  table: np.ndarray  # Value, or colour, -> code; see values.make_table.


class Decoded(NamedTuple):
  """A label, and what happened to its mask."""

  label: np.ndarray
  overlap: int = 0  # Pixels where a later class hid an earlier one.
  # Mask folder -> number of pixels from the threshold on, and of those above 0.
  marked: Mapping[str, tuple[int, int]] = {}


class ClassSpec(NamedTuple):
  """What the planes of logits mean."""

  planes: tuple[str, ...]  # A name for each plane.
  num_foreground: int  # The foreground classes are the last planes.
  exclusive: bool  # Softmax over the planes, or a sigmoid for each.
  soft: bool = False  # Whether labels are probabilities.

  def to_planes(self, label: np.ndarray) -> np.ndarray:
    """Returns where a label has each foreground class, bool[H, W, K]."""
    first = len(self.planes) - self.num_foreground if self.exclusive else 1
    return to_planes(label, self.num_foreground, first=first, soft=self.soft)


def make_coding(spec: Spec, classes: Sequence[str]) -> Coding:
  """Says what the masks of a data set with these classes mean.

  Raises:
    InputError: if a value stands for two classes, or a class for no value.
  """
  table, masks = np.zeros(0, np.uint8), spec.masks
  if spec.encoding in values.ENCODINGS:
    names = class_names('multiclass', classes, masks.background)
    table = values.make_table(spec.encoding, names, masks.merge, masks.void)
  return Coding(
    encoding=spec.encoding,
    task=spec.task,
    classes=tuple(classes),
    background=masks.background,
    merge=masks.merge,
    void=masks.void,
    threshold=masks.threshold,
    soft=masks.soft,
    table=table,
  )


def decode(mask: Mask, coding: Coding, where: str) -> Decoded:
  """Turns a mask as stored into a label.

  Args:
    mask: uint8 or bool[H, W], uint8[H, W, 3] colours, or planes [H, W] by
      their folder or number.
    coding: what it means.
    where: the file, for messages.

  Returns:
    uint8[H, W] of class indices, or uint8[H, W, K] planes under `multilabel`;
    from 0 to 254 where labels are probabilities.
  """
  num_classes = len(coding.classes)
  if not isinstance(mask, Mapping):
    label = values.to_codes(mask, coding.encoding, coding.table, where)
    if coding.task == 'multilabel':
      first = 1 if coding.background else 0
      label = label[..., None]
      planes_of = label == np.arange(first, first + num_classes)
      label = np.where(label == VOID, VOID, planes_of).astype(np.uint8)
    return Decoded(label)
  parts = planes.parts(mask, coding, where)
  read, void, marked = planes.read(mask, coding, where)
  label = np.stack(
    [np.max([read[part] for part in names], axis=0) for names in parts], axis=-1
  )
  overlap = 0
  if coding.task == 'multiclass':
    label, overlap = exclude(label)
    if not coding.background:
      planes.check_covered(label > 0, void, where)
      label = label - np.uint8(1)
  elif coding.task == 'binary':
    label = label[..., 0]
  label[void] = VOID
  return Decoded(label, overlap, marked)


def exclude(label: np.ndarray) -> tuple[np.ndarray, int]:
  """Turns uint8[H, W, K] planes into one class a pixel.

  Returns:
    uint8[H, W]: 0 is background, k + 1 is plane k, and where planes overlap the
    later wins; and the number of pixels where planes overlap.
  """
  order = np.arange(1, label.shape[-1] + 1, dtype=np.uint8)
  overlap = np.count_nonzero(label.sum(axis=-1, dtype=np.int32) > 1)
  return (label * order).max(axis=-1), int(overlap)


def to_planes(
  label: np.ndarray, num_foreground: int, *, first: int = 1, soft: bool = False
) -> np.ndarray:
  """Returns where a label has each class: bool[H, W, K].

  Args:
    label: from `decode`.
    num_foreground: K.
    first: index of the first of them, where the label is an index.
    soft: whether the label is probabilities; more than a half counts.
  """
  if soft:
    label = label if label.ndim == 3 else label[..., None]
    return (label > CERTAIN // 2) & (label != VOID)
  if label.ndim == 3:
    return label == 1
  return label[..., None] == np.arange(first, first + num_foreground)


def is_void(label: np.ndarray) -> np.ndarray:
  """Returns where a label doesn't count, in any plane: bool[H, W].

  Args:
    label: uint8[H, W] or [H, W, K], from `decode`.
  """
  return (label == VOID).reshape(*label.shape[:2], -1).any(axis=-1)


def class_names(
  task: str, classes: Sequence[str], background: str
) -> tuple[str, ...]:
  """Names the planes; background has one where classes exclude each other."""
  has_plane = task == 'multiclass' and background
  return (background, *classes) if has_plane else tuple(classes)
