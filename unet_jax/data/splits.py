"""Which names belong to train, val and test, as files or the config say."""

import json
import pathlib
from collections.abc import Mapping, Sequence

from unet_jax import errors, text_files

SPLITS = ('train', 'val', 'test')
FILE = 'splits.json'  # In a run's folder.


def read_lists(root: pathlib.Path) -> dict[str, list[str]]:
  """Reads those of train.txt, val.txt and test.txt that exist under `root`."""
  lists = {}
  for split in SPLITS:
    path = root / f'{split}.txt'
    if path.exists():
      lines = path.read_text('utf-8-sig').splitlines()
      lists[split] = [line.strip() for line in lines if line.strip()]
  return lists


def check_lists(lists: dict[str, list[str]], root: pathlib.Path) -> None:
  """Refuses lists that are empty, name one image twice, or lack train.txt."""
  seen = {}
  for split, names in lists.items():
    path = root / f'{split}.txt'
    if not names:
      raise errors.InputError(f'{path} is empty; list a name a line')
    for name in names:
      if name in seen:
        raise errors.InputError(
          f'{path} names {name}, which {seen[name]}.txt '
          'already has; list a name once, or scores mean nothing'
        )
      seen[name] = split
  if lists and 'train' not in lists:
    raise errors.InputError(
      f'{root} has {next(iter(lists))}.txt but no train.txt; add one, a name '
      'a line'
    )


def from_ranges(config, names: Sequence[str]) -> dict[str, list[str]]:
  """Reads splits as the config may name them: 'image001-image027, image030'.

  Args:
    config: the run's. A range includes both its ends; '' is no split.
    names: of all images; a range is of these in sorted order.

  Raises:
    InputError: for a name that no image has, or one in two splits.
  """
  ranges = {
    'train': config.data.train,
    'val': config.data.val,
    'test': config.data.test,
  }
  ordered, lists, seen = sorted(names), {}, {}
  for split, text in ranges.items():
    for part in filter(None, (part.strip() for part in text.split(','))):
      first, last = _ends(part, ordered, f'config.data.{split}')
      for name in ordered[first : last + 1]:
        if name in seen:
          raise errors.InputError(
            f'config.data.{split} has {name}, as has config.data.{seen[name]}; '
            'name an image once, or scores mean nothing'
          )
        seen[name] = split
        lists.setdefault(split, []).append(name)
  if lists and 'train' not in lists:
    raise errors.InputError(
      f'config.data.{next(iter(lists))} is set, but config.data.train is not; '
      'set both'
    )
  return lists


def _ends(part: str, ordered: list[str], key: str) -> tuple[int, int]:
  """Returns the places of a range's ends; a name may have dashes itself."""
  places = {name: i for i, name in enumerate(ordered)}
  cuts = [i for i, letter in enumerate(part) if letter == '-']
  pairs = [(part, part), *((part[:i], part[i + 1 :]) for i in cuts)]
  for pair in pairs:
    first, last = (places.get(name.strip(), -1) for name in pair)
    if 0 <= first <= last:
      return first, last
  raise errors.InputError(
    f'{key}: {part!r} is no name of an image and no range NAME-NAME of them; '
    f'they go from {ordered[0]} to {ordered[-1]}'
  )


def save(
  folder: pathlib.Path,
  keys: Mapping[str, Sequence[str]],
  folds: Sequence[Sequence[str]],
) -> None:
  """Writes down who is in which split, and in which fold where there are."""
  lists = {split: list(names) for split, names in keys.items()}
  if folds:
    lists['folds'] = [list(names) for names in folds]
  text_files.write_text(folder / FILE, json.dumps(lists, indent=1) + '\n')


def load(folder: pathlib.Path) -> dict[str, list[str]]:
  """Reads what `save` wrote; {} where there is no file."""
  path = folder / FILE
  return text_files.read_json(path, 'restore it') if path.exists() else {}
