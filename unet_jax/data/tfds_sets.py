"""TFDS data sets, read at random access and without TensorFlow."""

import pathlib

import tensorflow_datasets as tfds

from unet_jax import errors
from unet_jax.data import layout
from unet_jax.data.synthetic_fundus import embedded

SPLITS = {'train': 'train', 'val': 'val', 'validation': 'val', 'test': 'test'}


def open_builder(config, cache: pathlib.Path) -> layout.Layout:
  """Opens `config.data.name`, or the embedded set, building it if need be.

  Args:
    config: the run's; `data.root` is the TFDS data folder.
    cache: where data sets lie when `data.root` is empty.

  Raises:
    InputError: if the set, its split or a mask doesn't exist.
  """
  _check_settings(config)
  root = pathlib.Path(config.data.root or cache).expanduser().absolute()
  try:
    if config.data.source == 'synthetic_fundus':
      builder = embedded.make_builder(str(root))
    else:
      builder = _registered(config.data.name, root)
  except OSError as error:
    raise errors.InputError(
      f'no data set can be kept in {root} ({error.strerror or error}); name '
      'another folder with --config.data.root'
    ) from None
  data = {
    SPLITS[split]: builder.as_data_source(split)
    for split in builder.info.splits
    if split in SPLITS
  }
  if 'train' not in data:
    raise errors.InputError(
      f'{builder.name} has no split train, only {sorted(builder.info.splits)}'
    )
  features = builder.info.features
  mask_key = _find_masks(builder.name, features, config)
  names = getattr(features[mask_key], 'names', None) if mask_key else None
  first = 1 if config.data.background else 0
  classes = tuple(config.data.classes) or tuple(names[first:])
  keys = {
    split: [f'{split}[{i}]' for i in range(len(data[split]))] for split in data
  }
  places = {
    key: (split, i) for split in keys for i, key in enumerate(keys[split])
  }

  def read(key: str) -> layout.Raw:
    split, i = places[key]
    entry = data[split][i]
    name = entry.get('name', entry.get('file_name', f'{split}-{i:05d}'))
    name = name.decode() if isinstance(name, bytes) else name
    if not mask_key:
      folders = layout.mask_folders(config, classes)
      mask = {folder: entry[folder][..., 0] for folder in folders}
    elif config.data.mask == 'color':
      mask = entry[mask_key]
    else:
      mask = entry[mask_key][..., 0]
    return layout.Raw(name, entry['image'], mask, f'{builder.name} {name}')

  return layout.Layout(keys, read, classes, str(root))


def _check_settings(config) -> None:
  """Refuses what only a folder has."""
  source, fov = config.data.source, config.data.fov
  for split in ('train', 'val', 'test'):
    if config.data[split]:
      raise errors.InputError(
        f'config.data.{split} names images of a folder, but config.data.source '
        f'is {source}, which has its own splits; empty it'
      )
  if fov not in ('', 'estimate'):
    raise errors.InputError(
      f'config.data.fov names the folder {fov}, but config.data.source is '
      f'{source}; use --config.data.fov=estimate'
    )
  if config.data.weights:
    raise errors.InputError(
      f'config.data.weights names the folder {config.data.weights}, but '
      f'config.data.source is {source}; empty it'
    )


def _registered(name: str, root: pathlib.Path) -> tfds.core.DatasetBuilder:
  if not name:
    raise errors.InputError('config.data.name is empty; name the TFDS data set')
  try:
    builder = tfds.builder(name, data_dir=root, file_format='array_record')
  except tfds.core.registered.DatasetNotFoundError as error:
    first = str(error).strip().splitlines()[0]
    raise errors.InputError(f'config.data.name: {first}') from None
  try:
    builder.download_and_prepare()
  except Exception as error:  # Whatever the data set's own code raises.
    raise errors.InputError(
      f'{name} could not be prepared under {root}: {error}'
    ) from None
  return builder


def _find_masks(name: str, features, config) -> str:
  """Returns the segmentation feature, or '' where each class has its own."""
  depth = 3 if config.data.mask == 'color' else 1
  masks = [
    key
    for key, feature in features.items()
    if isinstance(feature, tfds.features.Image)
    and key != 'image'
    and feature.shape[-1] == depth
  ]
  if 'image' not in features:
    raise errors.InputError(
      f'{name} has no feature called image, only {sorted(features)}'
    )
  is_embedded = config.data.source == 'synthetic_fundus'
  if is_embedded or config.data.mask == 'folders':
    folders = layout.mask_folders(config, config.data.classes)
    missing = [folder for folder in folders if folder not in masks]
    if missing or not folders:
      raise errors.InputError(
        f'{name} has no mask {", ".join(missing) or "without a name"} (it has: '
        f'{", ".join(masks)}); correct config.data.classes or config.data.merge'
      )
    return ''
  if len(masks) != 1 or config.data.mask == 'planes':
    raise errors.InputError(
      f'{name} has {len(masks)} masks ({", ".join(masks)}), where '
      f'config.data.mask={config.data.mask} takes one'
    )
  if not config.data.classes and not getattr(features[masks[0]], 'names', None):
    raise errors.InputError(f'{name} names no classes; set config.data.classes')
  return masks[0]
