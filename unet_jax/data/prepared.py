"""Data sets decoded beforehand, as array_record shards that TFDS reads."""

import hashlib
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from tensorflow_datasets.core import example_serializer

from unet_jax import config as config_lib
from unet_jax import errors, text_files
from unet_jax.data import image_kinds, labels, layout, moments, stats
from unet_jax.data.spec import Spec

NAME, VERSION = 'prepared', '1.0.0'  # What TFDS calls the data set.
MANIFEST = 'prepared.json'
SHARD = 64  # Examples per file; a file is written whole or not at all.


def write(
  spec: Spec,
  opened: layout.Layout,
  read: Callable[[str], dict],
  output: pathlib.Path,
  say: Callable[[str], None],
) -> None:
  """Writes every example of a data set; resumes after an interrupted run.

  Args:
    spec: the settings with which `read` was built.
    opened: the data set.
    read: key -> example; see reading.make_reader.
    output: folder, `config.data.root` of the runs that will read it.
    say: called with one line for each file that is written.

  Raises:
    InputError: if `output` holds anything else, or an example is refused.
  """
  folder = output / NAME / VERSION
  keys_of = {split: list(keys) for split, keys in opened.keys.items()}
  plan = dict(
    settings=_settings(spec),
    classes=list(opened.classes),
    root=opened.root,
    kind=image_kinds.to_json(opened.kind),
    keys=keys_of,
  )
  manifest = _begin(folder, output, plan)
  features = _features(read(next(iter(opened.keys.values()))[0]))
  serializer = example_serializer.ExampleSerializer(
    features.get_serialized_info()
  )
  shards = manifest['shards']
  for name, keys in _shards(keys_of).items():
    if name in shards and _digest(folder / name) == shards[name]['sha256']:
      continue
    records = [
      serializer.serialize_example(features.encode_example(_entry(example)))
      for example in stats.in_order(keys, read)
    ]
    _write_shard(folder / name, records)
    shards[name] = dict(
      sha256=_digest(folder / name), num_bytes=sum(map(len, records))
    )
    text_files.write_text(folder / MANIFEST, json.dumps(manifest, indent=1))
    say(f'{folder / name}: {len(keys)} images')
  _describe(folder, features, keys_of, shards)
  manifest['is_finished'] = True
  text_files.write_text(folder / MANIFEST, json.dumps(manifest, indent=1))


def open_prepared(spec: Spec) -> layout.Layout:
  """Opens what `write` wrote under `spec.root`.

  Raises:
    InputError: if the data set is unfinished, damaged, or was prepared with
      other settings.
  """
  root = pathlib.Path(spec.root).expanduser().absolute()
  folder = root / NAME / VERSION
  manifest = _read_manifest(folder)
  again = 'run python -m unet_jax.prepare again'
  if not manifest.get('is_finished'):
    raise errors.InputError(
      f'{folder} is not a finished data set; {again}, with --output={root}'
    )
  for key, value in _settings(spec).items():
    # A set that is older than a key agrees with all of its values.
    prepared_with = manifest['settings'].get(key, value)
    if prepared_with != value:
      raise errors.InputError(
        f'{folder} was prepared with config.{key}={prepared_with!r}, not '
        f'{value!r}; {again} into another folder, or set the key back'
      )
  classes = tuple(manifest['classes'])
  if spec.classes and spec.classes != classes:
    raise errors.InputError(
      f'{folder} was prepared with the classes {", ".join(classes)}; set '
      f'config.data.classes to these, or {again} into another folder'
    )
  for name, shard in manifest['shards'].items():
    if _digest(folder / name) != shard['sha256']:
      raise errors.InputError(
        f'{folder / name} is damaged or missing; {again}, with --output={root}'
      )
  builder = tfds.builder_from_directory(folder)
  keys = manifest['keys']
  entries = {split: builder.as_data_source(_name(split)) for split in keys}
  places = {
    key: (split, i) for split in keys for i, key in enumerate(keys[split])
  }

  def read(key: str) -> layout.Raw:
    split, i = places[key]
    entry = entries[split][i]
    marked = json.loads(entry['marked'].decode())
    decoded = labels.Decoded(entry['label'], int(entry['overlap']), marked)
    weight_map = entry['weight_map'] if entry['weight_map'].any() else None
    name = entry['name'].decode()
    own = moments.of_example(entry)
    return layout.Raw(
      *(name, entry['image'], decoded, key, None, weight_map, own)
    )

  if 'kind' in manifest:
    kind = image_kinds.from_json(manifest['kind'])
  else:  # An earlier version prepared it.
    first = next(split for split in keys if keys[split])
    kind = image_kinds.of_array(entries[first][0]['image'], spec.channels)
  return layout.Layout(keys, read, classes, str(root), kind)


def _settings(spec: Spec) -> dict:
  """Returns the settings that decide images and labels, as JSON types."""
  return json.loads(json.dumps(spec.shaping()))


def _begin(folder: pathlib.Path, output: pathlib.Path, plan: dict) -> dict:
  """Returns the manifest of an interrupted run, or starts a new one.

  Raises:
    InputError: if the folder holds anything but a part of this data set.
  """
  manifest = _read_manifest(folder)
  if manifest:
    differing = [key for key in plan if manifest.get(key) != plan[key]]
    if differing:
      raise errors.InputError(
        f'--output {output} holds a data set with other '
        f'{" and ".join(differing)}; name another folder, or remove it'
      )
    return manifest
  if output.exists() and (not output.is_dir() or any(output.iterdir())):
    raise errors.InputError(
      f'--output {output} is neither empty nor a prepared data set; name '
      'another folder'
    )
  try:
    folder.mkdir(parents=True)
    text_files.write_text(folder / MANIFEST, json.dumps(plan | {'shards': {}}))
  except OSError as error:
    raise errors.InputError(
      f'--output {output} cannot be written ({error.strerror}); name another '
      'folder'
    ) from None
  return plan | {'shards': {}}


def _read_manifest(folder: pathlib.Path) -> dict:
  path = folder / MANIFEST
  if not path.exists():
    return {}
  manifest = text_files.read_json(path, f'remove {folder}')
  # An earlier version may have written old names of keys.
  settings = config_lib.rename(manifest.get('settings', {}))
  return manifest | {'settings': settings}


def _features(example: dict) -> tfds.features.FeaturesDict:
  image, label = example['image'], example['label']

  # Raw bytes, so that reading them decodes nothing.
  def array(shape, dtype=np.uint8):
    return tfds.features.Tensor(shape=shape, dtype=dtype, encoding='bytes')

  return tfds.features.FeaturesDict(
    dict(
      name=tfds.features.Text(),
      image=array((None, None, image.shape[-1]), image.dtype.type),
      label=array((None, None, *label.shape[2:])),
      weight_map=array((None, None), np.float32),  # [[0]] if there is none.
      overlap=tfds.features.Scalar(np.int64),
      marked=tfds.features.Text(),  # JSON; see labels.Decoded.
      **{
        key: array(x.shape, np.float32)
        for key, x in moments.of_example(example).items()
      },
    )
  )


def _entry(example: dict) -> dict:
  marked = {
    str(name): [int(n) for n in counts]
    for name, counts in example['marked'].items()
  }
  default = dict(weight_map=np.zeros((1, 1), np.float32))
  return default | example | dict(marked=json.dumps(marked))


def _name(split: str) -> str:
  """Returns the TFDS name of a split; in TFDS `all` means every split."""
  return 'unsplit' if split == 'all' else split


def _shards(keys: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
  """Returns {file name in the form of TFDS: keys of its examples}."""
  shards = {}
  for split, names in keys.items():
    split = _name(split)
    count = -(-len(names) // SHARD)
    for i in range(count):
      file = f'{NAME}-{split}.array_record-{i:05d}-of-{count:05d}'
      shards[file] = names[i * SHARD : (i + 1) * SHARD]
  return shards


def _write_shard(path: pathlib.Path, records: Sequence[bytes]) -> None:
  aside = path.with_name(f'{path.name}.tmp')
  try:
    writer = array_record_module.ArrayRecordWriter(str(aside), 'group_size:1')
    for record in records:
      writer.write(record)
    writer.close()
    aside.replace(path)
  except (OSError, RuntimeError) as error:
    raise errors.InputError(f'{path} cannot be written ({error})') from None


def _digest(path: pathlib.Path) -> str:
  """Returns the file's SHA-256, or '' if there is none."""
  if not path.exists():
    return ''
  with path.open('rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def _describe(
  folder: pathlib.Path,
  features: tfds.features.FeaturesDict,
  keys: Mapping[str, Sequence[str]],
  shards: Mapping[str, dict],
) -> None:
  """Writes the metadata with which TFDS reads the folder."""
  files = _shards(keys)
  infos = []
  for split in keys:
    split = _name(split)
    own = [name for name in files if name.startswith(f'{NAME}-{split}.')]
    infos.append(
      tfds.core.SplitInfo(
        name=split,
        shard_lengths=[len(files[name]) for name in own],
        num_bytes=sum(shards[name]['num_bytes'] for name in own),
      )
    )
  tfds.folder_dataset.write_metadata(
    data_dir=folder,
    features=features,
    split_infos=infos,
    version=VERSION,
    filename_template='{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}',
    description='Decoded by unet_jax.prepare; labels of 255 are void.',
    check_data=False,  # Needs TensorFlow.
  )
