"""Mask encodings -> labels: a class index or planes, uint8, 255 = void."""

from collections.abc import Mapping, Sequence

import numpy as np

from unet_jax import config as config_lib

VOID = 255  # A pixel that doesn't count: unlabelled, or outside the image.


def decode(
  mask: np.ndarray | Mapping[str, np.ndarray],
  encoding: str,
  *,
  task: str,
  classes: Sequence[str],
  merge: Mapping[str, Sequence[str]],
  where: str,
) -> tuple[np.ndarray, int]:
  """Turns a mask as stored into a label.

  Args:
    mask: uint8 or bool[H, W], or {folder: bool[H, W]}.
    encoding: of a mask that is one array, `binary` or `index`.
    task: `binary`, `multiclass` or `multilabel`.
    classes: foreground names.
    merge: class -> the folders whose union it is.
    where: the file, for messages.

  Returns:
    uint8[H, W] of class indices, or uint8[H, W, K] planes under `multilabel`;
    and the number of pixels where a later class hid an earlier one.
  """
  if isinstance(mask, Mapping):
    planes = from_planes(mask, classes, merge)
    if task == 'multiclass':
      return exclude(planes)
    return (planes[..., 0] if task == 'binary' else planes), 0
  if encoding == 'binary':
    label = from_binary(mask, where)
  else:
    label = from_index(mask, len(classes) + 1, where)
  if task == 'multilabel':
    planes = label[..., None] == np.arange(1, len(classes) + 1)
    label = np.where(label[..., None] == VOID, VOID, planes).astype(np.uint8)
  return label, 0


def from_binary(mask: np.ndarray, where: str) -> np.ndarray:
  """Returns uint8[H, W] of 0 and 1 from a mask of 0 and 255 (or bool)."""
  if mask.dtype == bool:
    return mask.astype(np.uint8)
  values, counts = np.unique(mask, return_counts=True)
  if set(values) <= {0, 1} and 1 in values:
    raise config_lib.InputError(
      f'{where}: a mask of 0 and 1 where mask=binary expects 0 and 255; '
      'use --config.data.mask=index'
    )
  _refuse_undeclared(values, counts, (0, 255), where)
  return (mask == 255).astype(np.uint8)


def from_index(mask: np.ndarray, num_values: int, where: str) -> np.ndarray:
  """Returns the mask as uint8[H, W] of 0 to num_values - 1, 255 = void."""
  values, counts = np.unique(mask, return_counts=True)
  _refuse_undeclared(values, counts, (*range(num_values), VOID), where)
  return mask.astype(np.uint8)


def from_planes(
  planes: Mapping[str, np.ndarray],
  classes: Sequence[str],
  merge: Mapping[str, Sequence[str]],
) -> np.ndarray:
  """Returns uint8[H, W, K] of 0 and 1, a plane a class, unions by `merge`."""
  unions = [
    np.any([planes[name] for name in merge.get(label, (label,))], axis=0)
    for label in classes
  ]
  return np.stack(unions, axis=-1).astype(np.uint8)


def exclude(planes: np.ndarray) -> tuple[np.ndarray, int]:
  """Turns uint8[H, W, K] planes into the one class that each pixel has.

  Returns:
    uint8[H, W]: 0 is background, k + 1 is plane k, and the later wins where
    planes overlap; and in how many pixels they do.
  """
  order = np.arange(1, planes.shape[-1] + 1, dtype=np.uint8)
  overlap = np.count_nonzero(planes.sum(axis=-1, dtype=np.int32) > 1)
  return (planes * order).max(axis=-1), overlap


def class_names(task: str, classes: Sequence[str]) -> tuple[str, ...]:
  """Returns a name for each plane: background is one when classes exclude."""
  return ('background', *classes) if task == 'multiclass' else tuple(classes)


def _refuse_undeclared(values, counts, declared, where: str) -> None:
  for value, count in zip(values, counts, strict=True):
    if value not in declared:
      known = f'0 to {len(declared) - 2}' if 1 in declared else '0 and 255'
      raise config_lib.InputError(
        f'{where}: mask value {value} in {count} pixels, but the config '
        f'declares {known}; correct the mask, config.data.mask or '
        'config.data.classes'
      )
