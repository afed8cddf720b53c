"""Masks with one value or colour per pixel -> codes of classes."""

import contextlib
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from unet_jax import errors
from unet_jax.data import codes

ENCODINGS = ('binary', 'index', 'color')
COLORS = 1 << 24  # Of 3 times 8 bits; index masks have no larger values.
UNDECLARED = 254  # A value that the config gives no meaning.


def make_table(
  encoding: str, names: Sequence[str], merge: Mapping, void: Sequence
) -> np.ndarray:
  """Builds the table from a value, or a colour as 0xrrggbb, to its code.

  Args:
    encoding: one of ENCODINGS.
    names: names of the classes; the position of a class is its code.
    merge: name -> its values. A class that is not in it has its position as
      value in an index mask, and 0 or 255 in a binary mask.
    void: values that are void.

  Returns:
    uint8[V] of codes; 255 is void and 254 undeclared. V is 2**24 for colours,
    else 256, or as much as the largest value of an index mask needs.
  """
  default = {'binary': (0, 255), 'index': range(256), 'color': ()}[encoding]
  size = COLORS if encoding == 'color' else 256
  if encoding == 'index':
    listed = (*itertools.chain.from_iterable(merge.values()), *void)
    places = [_to_place(value, encoding) for value in listed]
    size = max(size, *(place + 1 for place in places), 0)
  table = np.full(size, UNDECLARED, np.uint8)
  if encoding == 'index':
    table[codes.VOID] = codes.VOID
  owners: dict[int, str] = {}  # Position in the table -> its class.
  for code, name in (*enumerate(names), (codes.VOID, 'void')):
    chosen = merge.get(name, default[code : code + 1])
    for value in void if code == codes.VOID else chosen:
      place = _to_place(value, encoding)
      if place in owners:
        raise errors.InputError(
          f'mask value {value} means {owners[place]} and {name}; correct '
          'config.data.masks.merge, config.data.masks.void or '
          'config.data.background'
        )
      owners[place], table[place] = name, code
    if code != codes.VOID and name not in owners.values():
      raise errors.InputError(
        f'no mask value means {name}; name its '
        f'{"colours" if encoding == "color" else "values"} in '
        'config.data.masks.merge'
      )
  return table


def to_codes(
  mask: np.ndarray, encoding: str, table: np.ndarray, where: str
) -> np.ndarray:
  """Returns the codes of a mask, uint8[H, W]; refuses undeclared values.

  Args:
    mask: uint8, int32 or bool[H, W], or uint8[H, W, 3] of colours.
    encoding: one of ENCODINGS.
    table: from `make_table`.
    where: the file, for messages.
  """
  if mask.dtype == bool:
    mask = mask * np.uint8(255 if encoding == 'binary' else 1)
  if encoding == 'color':
    mask = mask.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
  label = table.take(mask, mode='clip')
  if mask.itemsize > 1:
    label[mask >= len(table)] = UNDECLARED
  undeclared = mask[label == UNDECLARED]
  if undeclared.size:
    value = int(undeclared.min())
    count = np.count_nonzero(undeclared == value)
    if encoding == 'binary' and mask.max() == 1:
      raise errors.InputError(
        f'{where}: a mask of 0 and 1 where config.data.masks.kind=binary '
        'expects 0 and 255; use --config.data.masks.kind=index'
      )
    if encoding == 'color':
      raise errors.InputError(
        f"{where}: colour '#{value:06x}' in {count} pixels is not declared; "
        'add it to config.data.masks.merge or config.data.masks.void'
      )
    raise errors.InputError(
      f'{where}: mask value {value} in {count} pixels, but the config declares '
      f'{_list(table)}; correct the mask, config.data.masks.kind, '
      'config.data.classes or config.data.masks.void; python -m '
      'unet_jax.doctor proposes a correction'
    )
  return label


def _to_place(value, encoding: str) -> int:
  """Returns the position of a value or a colour in the table."""
  place, size = value, COLORS if encoding in ('index', 'color') else 256
  if encoding == 'color' and isinstance(value, str) and value.startswith('#'):
    with contextlib.suppress(ValueError):
      place = int(value[1:], 16) if len(value) == 7 else value
  if not isinstance(place, int) or not 0 <= place < size:
    kind = f'a value from 0 to {size - 1}'
    if encoding == 'color':
      kind = "a colour '#rrggbb'"
    raise errors.InputError(
      f'{value!r} in config.data.masks.merge or config.data.masks.void must be '
      f'{kind}, as config.data.masks.kind says'
    )
  return place


def _list(table: np.ndarray) -> str:
  """Lists the values that a table, uint8[V], gives a meaning."""
  declared = np.flatnonzero(table < UNDECLARED).tolist()
  if len(declared) > 1 and declared == [*range(len(declared))]:
    return f'0 to {declared[-1]}'
  return ' and '.join(map(str, declared))
