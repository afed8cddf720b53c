"""The splits of a data set: random access to examples, checked before use.

An example is {'name': str, 'image': uint8[H, W, C], 'label': uint8[H, W], or
uint8[H, W, K] for a multilabel task, 'overlap': int}; `overlap` counts the
pixels in which a later class hid an earlier one.
"""

import concurrent.futures
import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from unet_jax import cache
from unet_jax import config as config_lib
from unet_jax.data import crops, files, folder, labels, layout, splits

IN_MEMORY = 4 * 2**30  # Bytes of decoded images and labels that are kept.
STRETCH = 64  # Examples decoded before the first of them is used.


@dataclasses.dataclass(frozen=True)
class Source:
  """A split that decodes an example each time it is asked for one."""

  keys: Sequence[Any]
  read: Callable[[Any], dict]

  def __len__(self) -> int:
    return len(self.keys)

  def __getitem__(self, i: int) -> dict:
    return self.read(self.keys[i])


class Dataset(NamedTuple):
  """The splits that exist, and what was found out about them."""

  splits: dict[str, Sequence[dict]]
  classes: tuple[str, ...]  # Foreground.
  root: str  # Absolute, so that a run's folder says where its data is.
  mean: tuple[float, ...]  # Of train, a channel, in 0 to 255.
  std: tuple[float, ...]
  digests: dict[str, str]  # Of each split's names, to know it again by.
  notes: tuple[str, ...]  # What a person should read before training.
  places: Sequence = ()  # Pixels of each class of train: crops.make_table's.


def load(config, found: layout.Layout) -> Dataset:
  """Opens every split and decodes each of its examples once.

  Small sets stay in memory, as uint8.

  Raises:
    InputError: at the first file, name or value that can't be used.
  """
  keys, notes = split_keys(config, found)
  read = _example_reader(config, found)
  sources, totals = {}, {}
  for split in keys:
    sources[split], totals[split] = _read_all(Source(keys[split], read))
  mean, std = _moments(totals['train'])
  overlap = sum(total['overlap'] for total in totals.values())
  if overlap:
    pixels = sum(total['pixels'] for total in totals.values())
    notes.append(
      f'classes overlap in {overlap} of {pixels} pixels; there the later of '
      f'{", ".join(found.classes)} wins'
    )
  notes += _check_presence(totals['train']['label'], config, found.classes)
  digests = {split: _digest(keys[split]) for split in keys}
  places = crops.make_table(totals['train']['places'], len(found.classes))
  return Dataset(
    sources, found.classes, found.root, mean, std, digests, tuple(notes), places
  )


def open_split(config, split: str) -> Sequence[dict]:
  """Returns one split, undecoded; the splits are those that `load` makes.

  Raises:
    InputError: if there is no such split.
  """
  found = open_layout(config)
  keys, _ = split_keys(config, found)
  if split not in keys:
    raise config_lib.InputError(
      f'--split {split}: there is none; the data has {", ".join(keys)}'
    )
  return Source(keys[split], _example_reader(config, found))


def open_layout(config) -> layout.Layout:
  """Finds the data set that `config.data` names."""
  if config.data.source == 'folder':
    found = folder.open_folder(config)
  else:
    from unet_jax.data import tfds_sets  # Takes a second; folders go without.

    found = tfds_sets.open_builder(config, cache.folder())
  _check_classes(found.classes, config)
  return found


def _check_classes(classes: Sequence[str], config) -> None:
  """Refuses classes that the task or the masks can't tell apart."""
  listed = ', '.join(classes) or 'none'
  planes = labels.class_names(config.task, classes)
  if not classes or len(set(planes)) < len(planes):
    raise config_lib.InputError(
      f'the foreground classes are: {listed}; set config.data.classes to one '
      'or more names that differ, without background'
    )
  takes_one = 'binary' in (config.task, config.data.mask)
  if len(classes) > 1 and takes_one:
    raise config_lib.InputError(
      f'the foreground classes are: {listed}; config.task={config.task} with '
      f'config.data.mask={config.data.mask} takes one: name it in '
      'config.data.classes, or change these'
    )


def _example_reader(config, found: layout.Layout) -> Callable[[Any], dict]:
  def read(key) -> dict:
    raw = found.read(key)
    label, overlap = labels.decode(
      raw.mask,
      config.data.mask,
      task=config.task,
      classes=found.classes,
      merge=config.data.merge,
      where=raw.where,
    )
    image = files.keep_channels(raw.image, config.data.channels)
    if image.dtype != np.uint8 or image.shape[:2] != label.shape[:2]:
      raise config_lib.InputError(
        f'{raw.where}: image {image.dtype}{list(image.shape)} and mask '
        f'{list(label.shape)} must be of 8 bits and of one size'
      )
    if config.data.resize:
      image = files.rescale(image, config.data.resize, Image.Resampling.BOX)
      label = files.rescale(label, config.data.resize, Image.Resampling.NEAREST)
    return dict(name=raw.name, image=image, label=label, overlap=overlap)

  return read


def split_keys(config, found: layout.Layout) -> tuple[dict, list[str]]:
  """Draws a val split where none is listed, and says which splits lack.

  Returns:
    {split: keys}, in the order train, val, test; and notes.
  """
  keys, notes = found.keys, []
  if 'val' not in keys:
    share = config.data.val_share or (0.2 if 'all' in keys else 0.0)
    everything = keys.get('all') or keys['train']
    train, val = splits.hold_back(everything, share, config.seed)
    keys = keys | {'train': train, 'val': val}
    if val:
      notes.append(f'val is {len(val)} of {len(everything)} images, by seed')
    else:
      notes.append(
        'no val split: "best" is the latest averaged weights (to hold images '
        'back: --config.data.val_share=0.2)'
      )
  keys = {split: keys[split] for split in splits.SPLITS if keys.get(split)}
  if 'test' not in keys:
    last = list(keys)[-1]
    notes.append(f'no test split: the final evaluation is on {last}')
  return keys, notes


def _digest(keys: Sequence[Any]) -> str:
  text = '\n'.join(map(str, keys))
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check_presence(
  pixels: np.ndarray, config, classes: Sequence[str]
) -> list[str]:
  """Says which classes train lacks; refuses a train split without any.

  Args:
    pixels: int64[256] of each label value; of each plane if multilabel.
    config: the run's.
    classes: foreground names.
  """
  first = 0 if config.task == 'multilabel' else 1
  absent = [
    name for i, name in enumerate(classes, start=first) if not pixels[i]
  ]
  if len(absent) == len(classes):
    hint = ''
    if config.data.mask == 'index' and pixels[labels.VOID]:
      hint = (
        f'; {pixels[labels.VOID]} are 255, which is void in an index mask: '
        'where it means foreground, use --config.data.mask=binary'
      )
    raise config_lib.InputError(
      f'no pixel of the train split is {" or ".join(classes)}{hint}'
    )
  return [f'no pixel of the train split is {name}' for name in absent]


def _read_all(source: Source) -> tuple[Sequence[dict], dict]:
  """Decodes a split in threads; keeps it in memory where it is small."""
  kept, size = [], 0
  totals = dict(overlap=0, pixels=0, sum=0, squares=0, label=0, places=[])
  with concurrent.futures.ThreadPoolExecutor() as pool:
    for example in _in_order(pool, source):
      image = example['image'].astype(np.int64)
      totals['sum'] += image.sum(axis=(0, 1))
      totals['squares'] += (image**2).sum(axis=(0, 1))
      totals['pixels'] += image.shape[0] * image.shape[1]
      totals['overlap'] += example['overlap']
      totals['label'] += _count_values(example['label'])
      totals['places'].append(crops.find_places(example['label']))
      size += example['image'].nbytes + example['label'].nbytes
      if size <= IN_MEMORY:
        kept.append(example)
  return (kept if len(kept) == len(source) else source), totals


def _count_values(label: np.ndarray) -> np.ndarray:
  """Counts int64[256] pixels of each class index, or of each plane."""
  if label.ndim == 3:
    counted = np.count_nonzero(label == 1, axis=(0, 1))
    return np.pad(counted, (0, 256 - len(counted)))
  return np.bincount(label.ravel(), minlength=256)


def _in_order(
  pool: concurrent.futures.Executor, source: Source
) -> Iterator[dict]:
  """Decodes in threads, a stretch at a time: they would run far ahead."""
  for first in range(0, len(source), STRETCH):
    places = range(first, min(first + STRETCH, len(source)))
    yield from pool.map(source.__getitem__, places)


def _moments(totals: dict) -> tuple[tuple[float, ...], tuple[float, ...]]:
  """Returns mean and standard deviation a channel, the latter at least 1."""
  mean = totals['sum'] / totals['pixels']
  std = np.sqrt(np.maximum(totals['squares'] / totals['pixels'] - mean**2, 0))
  return tuple(mean.tolist()), tuple(np.maximum(std, 1.0).tolist())
