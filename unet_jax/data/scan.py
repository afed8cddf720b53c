"""Lists the files of a folder of images and masks, without checking them."""

import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from unet_jax import errors, text_files
from unet_jax.data import opening, splits
from unet_jax.data.spec import Spec

MASKS = 'masks'  # Folder of masks, if there is one mask per image.
WEIGHTS = ('.npy', '.png')  # Suffixes of maps of weights.

NUMBERED = re.compile(r'(.+)(_\d{4})')  # A channel, as nnU-Net names it.

CLUTTER = ('thumbs.db', 'desktop.ini')  # Files that Windows adds.

Paths = dict[str, list[pathlib.Path]]  # NAME -> its files; one is right.


class Files(NamedTuple):
  """The files of a folder, whether or not they match."""

  root: pathlib.Path
  images: Paths  # Of an image of several files, the first.
  masks: dict[str, Paths]  # By mask folder.
  fields: Paths  # Masks of the field of view, if a folder has them.
  weights: Paths  # Maps of weights, if there are any.
  lists: dict[str, list[str]]  # Split -> names, if its list exists.
  # Endings of the names of an image's files, as nnU-Net has them.
  endings: tuple[str, ...] = ('',)


def list_files(spec: Spec) -> Files:
  """Lists the files under `spec.root`.

  A mask has the name of its image. If all masks of a folder add the same ending
  to it, as IDRiD_01_EX.tif does to IDRiD_01.jpg, the ending is dropped. Where
  masks are called NAME and no image is, an image may be NAME_0000, NAME_0001.

  Raises:
    InputError: if there is no such folder, or an image lacks a file.
  """
  if not spec.root:
    raise errors.InputError(
      'config.data.root is empty; give the folder: --config.data.root=DIR'
    )
  root = pathlib.Path(spec.root).expanduser().absolute()
  if not root.is_dir():
    raise errors.InputError(
      f'config.data.root: no folder {root}; give it with --config.data.root'
    )
  _check_name(str(root), root)
  images = by_name(root / 'images', opening.IMAGES)
  suffixes, weights = mask_suffixes(spec), root / spec.weights
  folders = _mask_folders(root, spec)
  named = {x for folder in folders for x in by_name(folder, suffixes)}
  images, endings = group(images, named)
  spelling = _spelling(images)
  return Files(
    root=root,
    images=images,
    masks={
      _class_name(folder.name, spec): list_masks(folder, images, suffixes)
      for folder in folders
    },
    fields=list_masks(root / spec.fov, images) if has_field_files(spec) else {},
    weights=list_masks(weights, images, WEIGHTS) if spec.weights else {},
    lists={
      split: [spelling.get(text_files.normal(name), name) for name in names]
      for split, names in splits.read_lists(root).items()
    },
    endings=endings,
  )


def group(images: Paths, masks: set[str]) -> tuple[Paths, tuple[str, ...]]:
  """Groups images NAME_0000, NAME_0001 ... whose masks are called NAME.

  Args:
    images: NAME_0000 -> its files, and so on.
    masks: names of the masks.

  Returns:
    NAME -> the file NAME_0000, and the endings; or the images, and ('',), if
    they are not such images.

  Raises:
    InputError: if they are, and one lacks a file that the others have.
  """
  parts = [NUMBERED.fullmatch(name) for name in images]
  matches = [part for part in parts if part]
  names = dict.fromkeys(match[1] for match in matches)
  if len(matches) < len(images) or masks.isdisjoint(names):
    return images, ('',)
  if not masks.isdisjoint(images):
    return images, ('',)
  endings = sorted({match[2] for match in matches})
  grouped: Paths = {}
  for name in names:
    grouped[name] = images.get(name + endings[0], [])
    for ending in endings:
      suffixes = [x.suffix for x in images.get(name + ending, ())]
      if not suffixes or suffixes[0] != grouped[name][0].suffix:
        where = next(iter(images.values()))[0].parent
        raise errors.InputError(
          f'{where}: the files of {name} must end with {", ".join(endings)} '
          f'and have one suffix, as those of other images, but {ending} is '
          'missing; add it'
        )
  return grouped, tuple(endings)


def list_masks(
  folder: pathlib.Path,
  images: Iterable[str],
  suffixes: Sequence[str] = opening.SUFFIXES,
) -> Paths:
  """Lists the masks in a folder by the names of their images."""
  spelling = _spelling(images)
  masks: Paths = {}
  for name, paths in by_name(folder, suffixes).items():
    masks.setdefault(text_files.normal(name), []).extend(paths)
  masks = _without_ending(masks, spelling)
  return {spelling.get(name, name): paths for name, paths in masks.items()}


def _spelling(images: Iterable[str]) -> dict[str, str]:
  """Returns names by their normal form.

  A mask or list may write an accent in another form than its image.
  """
  return {text_files.normal(name): name for name in images}


def by_name(
  folder: pathlib.Path, suffixes: Sequence[str] = opening.SUFFIXES
) -> Paths:
  """Returns {NAME: paths} of the files directly in `folder`, if it exists.

  Raises:
    InputError: for a name that cannot be shown.
  """
  paths: Paths = {}
  for path in _visible(folder):
    if path.suffix.lower() in suffixes and path.is_file():
      _check_name(path.name, folder)
      paths.setdefault(path.stem, []).append(path)
  if not set(opening.FIRST_SUFFIXES) <= set(suffixes):
    return paths
  return {
    name: [x for x in several if x.suffix.lower() in opening.FIRST_SUFFIXES]
    or several
    for name, several in paths.items()
  }


def left_out(
  folder: pathlib.Path, suffixes: Sequence[str] = opening.SUFFIXES
) -> list[pathlib.Path]:
  """Lists what `by_name` leaves out of a folder.

  Files that only belong to one that is read, such as NAME.json of NAME.png, and
  folders are not listed.
  """
  taken = by_name(folder, suffixes)
  return [
    path
    for path in _visible(folder)
    if path not in taken.get(path.stem, ())
    and not path.is_dir()
    and (path.suffix.lower() in suffixes or path.stem not in taken)
    and path.name.lower() not in CLUTTER
  ]


def _visible(folder: pathlib.Path) -> list[pathlib.Path]:
  """Lists what is directly in a folder, without hidden files."""
  try:
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
  except OSError as error:
    raise errors.InputError(
      f'{folder} cannot be read ({error.strerror or error}); correct its '
      'permissions'
    ) from None
  return [path for path in paths if not path.name.startswith('.')]


def _check_name(name: str, folder: pathlib.Path) -> None:
  """Refuses a name that is not UTF-8, or would control the terminal."""
  if any(map(text_files.is_control, name)):
    raise errors.InputError(
      f'{ascii(str(folder))}: the name {ascii(name)} is not UTF-8, or has a '
      'control character; rename it'
    )


def mask_suffixes(spec: Spec) -> tuple[str, ...]:
  """Returns the suffixes that files of masks may have."""
  return ('.npy',) if spec.masks.kind == 'planes' else opening.SUFFIXES


def has_field_files(spec: Spec) -> bool:
  """Returns whether the field of view is read from files."""
  return spec.fov not in ('', 'estimate')


def _mask_folders(root: pathlib.Path, spec: Spec) -> list[pathlib.Path]:
  """Returns the folders that hold masks: those in GT, or the one `masks`."""
  if spec.masks.kind == 'folders':
    folders = [path for path in _visible(root / 'GT') if path.is_dir()]
    for path in folders:
      _check_name(path.name, root / 'GT')
    return folders
  return [path for path in [root / MASKS] if path.is_dir()]


def _class_name(folder: str, spec: Spec) -> str:
  """Returns a folder's name in the form in which the settings write it."""
  masks = spec.masks
  named = [*spec.classes, *sum(masks.merge.values(), ()), *masks.void]
  spelling = {text_files.normal(str(name)): name for name in named}
  return spelling.get(text_files.normal(folder), folder)


def _without_ending(masks: Paths, images: Mapping[str, object]) -> Paths:
  """Renames {NAME_ending: paths} to {NAME: paths} if all endings are equal."""
  if not masks or masks.keys() & images.keys():
    return masks
  first = next(iter(masks))
  for name in images:
    ending = first.removeprefix(name)
    is_ending = ending != first and ending.startswith(('_', '-', '.'))
    if is_ending and all(other.endswith(ending) for other in masks):
      return {n.removesuffix(ending): paths for n, paths in masks.items()}
  return masks
