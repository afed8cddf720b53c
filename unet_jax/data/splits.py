"""Names in train, val and test, from lists or from ranges."""

import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence

from unet_jax import errors, text_files
from unet_jax.data.spec import Split

SPLITS = ('train', 'val', 'test')
FILE = 'splits.json'  # In a run's folder.


def read_lists(root: pathlib.Path) -> dict[str, list[str]]:
  """Reads train.txt, val.txt and test.txt under `root`, if they exist."""
  lists = {}
  for split in SPLITS:
    path = root / f'{split}.txt'
    if path.exists():
      lists[split] = text_files.read_lines(path)
  return lists


def from_ranges(split: Split, names: Iterable[str]) -> dict[str, list[str]]:
  """Reads splits that are given as text: 'image001-image027, image030'.

  Args:
    split: its `train`, `val` and `test` are read; '' is no split. A range
      includes both its ends.
    names: names of all images; a range covers them in sorted order.

  Raises:
    InputError: for a name that no image has, or one in two splits.
  """
  ordered = sorted(names)
  lists: dict[str, list[str]] = {}
  owner: dict[str, str] = {}  # Name -> the split that has it.
  for key in SPLITS:
    parts = (part.strip() for part in getattr(split, key).split(','))
    for part in filter(None, parts):
      first, last = _ends(part, ordered, f'config.data.split.{key}')
      for name in ordered[first : last + 1]:
        if name in owner:
          raise errors.InputError(
            f'config.data.split.{key} has {name}, as has '
            f'config.data.split.{owner[name]}; name each image once, or '
            'scores mean nothing'
          )
        owner[name] = key
        lists.setdefault(key, []).append(name)
  if lists and 'train' not in lists:
    raise errors.InputError(
      f'config.data.split.{next(iter(lists))} is set, but '
      'config.data.split.train is not; set both'
    )
  return lists


def _ends(part: str, ordered: list[str], key: str) -> tuple[int, int]:
  """Returns the positions of a range's ends; names may have dashes, too."""
  places = {text_files.normal(name): i for i, name in enumerate(ordered)}
  part = text_files.normal(part)
  cuts = [i for i, letter in enumerate(part) if letter == '-']
  pairs = [(part, part), *((part[:i], part[i + 1 :]) for i in cuts)]
  for pair in pairs:
    first, last = (places.get(name.strip(), -1) for name in pair)
    if 0 <= first <= last:
      return first, last
  raise errors.InputError(
    f'{key}: {part!r} is neither the name of an image nor a range NAME-NAME; '
    f'names go from {ordered[0]} to {ordered[-1]}'
  )


def save(
  folder: pathlib.Path,
  keys: Mapping[str, Sequence[str]],
  folds: Sequence[Sequence[str]],
) -> None:
  """Writes the keys of each split, and of each fold if there are any."""
  lists: dict[str, list] = {split: list(keys[split]) for split in keys}
  if folds:
    lists['folds'] = [list(names) for names in folds]
  text_files.write_text(folder / FILE, json.dumps(lists, indent=1) + '\n')


def load(folder: pathlib.Path) -> dict[str, list[str]]:
  """Reads what `save` wrote; returns {} if there is no file.

  Raises:
    InputError: if the file is damaged.
  """
  path = folder / FILE
  if not path.exists():
    return {}
  lists = text_files.read_json(path, 'restore it')
  folds = lists.get('folds', [])
  parts = [names for key, names in lists.items() if key != 'folds']
  is_sound = isinstance(folds, list) and all(
    isinstance(names, list) and all(isinstance(x, str) for x in names)
    for names in parts + folds
  )
  if not is_sound:
    raise errors.InputError(f'{path} holds no lists of names; restore it')
  return lists
