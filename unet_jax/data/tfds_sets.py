"""TFDS data sets, read by random access and without TensorFlow."""

import pathlib

import tensorflow_datasets as tfds

from unet_jax import errors
from unet_jax.data import image_files, image_kinds, labels, layout
from unet_jax.data.spec import EMBEDDED, Spec
from unet_jax.data.synthetic_fundus import embedded

SPLITS = {'train': 'train', 'val': 'val', 'validation': 'val', 'test': 'test'}


def open_builder(spec: Spec, cache: pathlib.Path) -> layout.Layout:
  """Opens `spec.name` or the embedded set, and builds it if it is missing.

  Args:
    spec: its `root` is the TFDS data folder.
    cache: folder of data sets, used if `root` is empty.

  Raises:
    InputError: if the set, its split or a mask doesn't exist.
  """
  _check_settings(spec)
  root = pathlib.Path(spec.root or cache).expanduser().absolute()
  try:
    if spec.source == EMBEDDED:
      builder = embedded.make_builder(str(root))
    else:
      builder = _registered(spec.name, root)
  except OSError as error:
    raise errors.InputError(
      f'{root} cannot hold a data set ({error.strerror or error}); name '
      'another folder with --config.data.root'
    ) from None
  entries = {
    SPLITS[split]: builder.as_data_source(split)
    for split in builder.info.splits
    if split in SPLITS
  }
  if 'train' not in entries:
    raise errors.InputError(
      f'{builder.name} has no split train, only {sorted(builder.info.splits)}'
    )
  features = builder.info.features
  mask_key = _find_masks(builder.name, features, spec)
  names = getattr(features[mask_key], 'names', None) if mask_key else None
  first = 1 if spec.masks.background else 0
  classes = spec.classes or tuple(names or ())[first:]
  keys = {
    split: [f'{split}[{i}]' for i in range(len(part))]
    for split, part in entries.items()
  }
  places = {
    key: (split, i) for split in keys for i, key in enumerate(keys[split])
  }

  def read(key: str) -> layout.Raw:
    split, i = places[key]
    entry = entries[split][i]
    name = entry.get('name', entry.get('file_name', f'{split}-{i:05d}'))
    name = name.decode() if isinstance(name, bytes) else name
    mask: labels.Mask
    if not mask_key:
      folders = layout.mask_folders(spec.masks, classes)
      mask = {folder: entry[folder][..., 0] for folder in folders}
    elif spec.masks.kind == 'color':
      mask = entry[mask_key]
    else:
      mask = entry[mask_key][..., 0]
    where = f'{builder.name} {name}'
    image_files.refuse_not_finite(entry['image'], where)
    return layout.Raw(name, entry['image'], mask, where)

  kind = image_kinds.of_array(entries['train'][0]['image'], 'all')
  return layout.Layout(keys, read, classes, str(root), kind)


def _check_settings(spec: Spec) -> None:
  """Refuses settings that need a folder of images."""
  source, fov = spec.source, spec.fov
  for split in ('train', 'val', 'test'):
    if getattr(spec.split, split):
      raise errors.InputError(
        f'config.data.split.{split} names images of a folder, but '
        f'config.data.source is {source}, which has its own splits; use '
        f'--config.data.split.{split}='
      )
  if fov not in ('', 'estimate'):
    raise errors.InputError(
      f'config.data.fov names the folder {fov}, but config.data.source is '
      f'{source}; use --config.data.fov=estimate'
    )
  if spec.weights:
    raise errors.InputError(
      f'config.data.weights names the folder {spec.weights}, but '
      f'config.data.source is {source}; use --config.data.weights='
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
  except Exception as error:  # The data set's own code may raise anything.
    raise errors.InputError(
      f'{name} could not be prepared under {root}: {error}'
    ) from None
  return builder


def _find_masks(name: str, features, spec: Spec) -> str:
  """Returns the segmentation feature, or '' where each class has its own."""
  depth = 3 if spec.masks.kind == 'color' else 1
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
  if spec.encoding == 'folders':
    folders = layout.mask_folders(spec.masks, spec.classes)
    missing = [folder for folder in folders if folder not in masks]
    if missing or not folders:
      raise errors.InputError(
        f'{name} has no mask {", ".join(missing) or "for no class"} (it has: '
        f'{", ".join(masks)}); correct config.data.classes or '
        'config.data.masks.merge'
      )
    return ''
  if len(masks) != 1 or spec.masks.kind == 'planes':
    raise errors.InputError(
      f'{name} has {len(masks)} masks ({", ".join(masks)}), but '
      f'config.data.masks.kind={spec.masks.kind} reads '
      f'{"a folder" if spec.masks.kind == "planes" else "one"}; correct it'
    )
  if not spec.classes and not getattr(features[masks[0]], 'names', None):
    raise errors.InputError(f'{name} names no classes; set config.data.classes')
  return masks[0]
