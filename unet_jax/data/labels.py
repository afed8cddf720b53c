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
  """How the masks of a data set are read."""

  encoding: str  # binary | index | color | folders | planes
  task: str  # binary | multiclass | multilabel
  classes: tuple[str, ...]  # Foreground.
  background: str  # Its name; '' if every pixel belongs to a class.
  merge: Mapping[str, Sequence]  # Class -> its folders, planes or values.
  void: tuple  # Folders, planes or values that are void.
  threshold: int
  soft: int  # Value that means probability 1; 0 if labels are hard.
  table: np.ndarray  # Value, or colour, -> code; see values.make_table.


class Decoded(NamedTuple):
  """A label, and statistics of its mask."""

  label: np.ndarray
  overlap: int = 0  # Pixels where a later class hid an earlier one.
  # Mask folder -> number of pixels >= the threshold, and of pixels > 0.
  marked: Mapping[str, tuple[int, int]] = {}


class ClassSpec(NamedTuple):
  """The classes of the planes of logits."""

  planes: tuple[str, ...]  # A name for each plane.
  num_foreground: int  # The foreground classes are the last planes.
  exclusive: bool  # Softmax over the planes; False: a sigmoid for each.
  soft: bool = False  # Whether labels are probabilities.

  def to_planes(self, label: np.ndarray) -> np.ndarray:
    """Returns where a label has each foreground class, bool[H, W, K]."""
    first = len(self.planes) - self.num_foreground if self.exclusive else 1
    return to_planes(label, self.num_foreground, first=first, soft=self.soft)


def make_coding(spec: Spec, classes: Sequence[str]) -> Coding:
  """Builds the coding of masks with these foreground classes.

  Raises:
    InputError: if a value means two classes, or a class has no value.
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
    coding: from `make_coding`.
    where: the file, for messages.

  Returns:
    A label of class indices uint8[H, W], or of planes uint8[H, W, K] under
    `multilabel`; 0 to 254 where labels are probabilities.
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
    uint8[H, W], where 0 is background and k + 1 is plane k, and the later plane
    wins where planes overlap; and the number of pixels where planes overlap.
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
    first: index of the first foreground class, where the label has indices.
    soft: whether the label has probabilities; those above 1/2 count.
  """
  if soft:
    label = label if label.ndim == 3 else label[..., None]
    return (label > CERTAIN // 2) & (label != VOID)
  if label.ndim == 3:
    return label == 1
  return label[..., None] == np.arange(first, first + num_foreground)


def is_void(label: np.ndarray) -> np.ndarray:
  """Returns where a label is void in any plane: bool[H, W].

  Args:
    label: uint8[H, W] or [H, W, K], from `decode`.
  """
  return (label == VOID).reshape(*label.shape[:2], -1).any(axis=-1)


def class_names(
  task: str, classes: Sequence[str], background: str
) -> tuple[str, ...]:
  """Returns the planes' names; under multiclass the background has a plane."""
  has_plane = task == 'multiclass' and background
  return (background, *classes) if has_plane else tuple(classes)
