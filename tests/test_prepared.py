"""Data sets that are decoded once, and trained from as they are."""

import json
import shlex
import shutil

import numpy as np
import pytest
from commands import call
from PIL import Image
from settings import set_data

from unet_jax import config as config_lib
from unet_jax import errors
from unet_jax.data import files, image_files, prepared, reading, sources, spec


@pytest.fixture
def prepare(load_config, monkeypatch):
  """Returns (root, output, **data) -> config; shards are of 2 examples."""
  monkeypatch.setattr(prepared, 'SHARD', 2)

  def run(root, output, name='multiclass:folder', say=lambda _: None, **data):
    config = load_config(name)
    set_data(config, root=str(root), **data)
    wanted = spec.read(config)
    opened = sources.open_layout(wanted)
    read = reading.make_reader(wanted, opened)
    prepared.write(wanted, opened, read, output, say)
    return config

  return run


def as_prepared(config, output, **data):
  again = config.copy_and_resolve_references()
  set_data(again, source='tfds', name='prepared', root=str(output), **data)
  return again


def load(config):
  wanted = spec.read(config)
  return sources.load(wanted, sources.open_layout(wanted))


LAYOUTS = {
  'index': dict(classes=('x', 'y'), resize=24),
  'binary': dict(name='binary:folder'),
  'folders': dict(name='multilabel:folder'),
}


@pytest.mark.parametrize('mask', LAYOUTS)
def test_prepared_set_is_the_set_without_reading_its_files(
  prepare, write_folder, tmp_path, monkeypatch, mask
):
  root = write_folder('abcdefg', mask=mask, train='gfedc', test='ab')
  config = prepare(root, tmp_path / 'out', **LAYOUTS[mask], val_share=0.4)
  before = load(config)
  shutil.rmtree(root)
  monkeypatch.setattr(image_files, 'read_image', None)
  after = load(as_prepared(config, tmp_path / 'out'))
  for part in ('stats', 'notes', 'digests', 'images'):
    assert getattr(before, part) == getattr(after, part)
  assert list(before.splits) == list(after.splits) == ['train', 'val', 'test']
  for split in before.splits:
    assert len(before.splits[split]) == len(after.splits[split])
    for one, two in zip(
      *(x.splits[split] for x in (before, after)), strict=True
    ):
      assert one['name'] == two['name']
      np.testing.assert_array_equal(one['image'], two['image'])
      np.testing.assert_array_equal(one['label'], two['label'])


def test_overlap_and_thresholds_are_reported_of_a_prepared_set_too(
  prepare, write_folder, tmp_path
):
  root = write_folder(mask='folders', train='abcd')
  for path in (root / 'GT' / 'a').iterdir():
    graded = np.array(Image.open(path)) // 2
    graded[:7] = 9
    files.write_png(graded, path)
  config = prepare(
    root, tmp_path / 'out', mask='folders', classes=('a', 'b'), threshold=99
  )
  notes = load(as_prepared(config, tmp_path / 'out')).notes
  assert notes == load(config).notes
  assert any('classes overlap in' in note for note in notes)
  assert any(
    'marked pixels reach config.data.masks.threshold=99' in note
    for note in notes
  )


def test_an_interrupted_run_is_resumed(
  prepare, write_folder, tmp_path, monkeypatch
):
  root, output = write_folder('abcdefg', mask='index'), tmp_path / 'out'
  done = []

  def die(line):
    done.append(line)
    if len(done) == 2:
      raise KeyboardInterrupt

  data = dict(classes=('x', 'y'))
  with pytest.raises(KeyboardInterrupt):
    prepare(root, output, say=die, **data)
  config = as_prepared(prepare(root, tmp_path / 'other', **data), output)
  with pytest.raises(errors.InputError, match='not a finished data set'):
    load(config)
  folder = output / 'prepared/1.0.0'
  kept = {path: path.stat().st_mtime_ns for path in folder.glob('*-of-*')}
  assert len(kept) == 2
  (folder / 'prepared-all.array_record-00002-of-00004.tmp').write_text('half')
  prepare(root, output, say=done.append, **data)
  assert len(done) == 4
  for path, time in kept.items():
    assert path.stat().st_mtime_ns == time
  assert len(load(config).splits['train']) == 6
  prepare(root, output, say=done.append, **data)
  assert len(done) == 4  # All is there.


def test_damage_is_found_and_mended(prepare, write_folder, tmp_path):
  root, output = write_folder(mask='index'), tmp_path / 'out'
  config = as_prepared(prepare(root, output, classes=('x', 'y')), output)
  path = next((output / 'prepared/1.0.0').glob('*-00001-of-*'))
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)
  with pytest.raises(errors.InputError, match='00001-of-00002 is damaged'):
    load(config)
  prepare(root, output, classes=('x', 'y'))
  assert len(load(config).splits['train']) == 3


def test_foreign_folders_are_refused(prepare, write_folder, tmp_path):
  root, output = write_folder(mask='index'), tmp_path / 'out'
  output.mkdir()
  (output / 'mine.txt').touch()
  with pytest.raises(errors.InputError, match='out is neither empty nor a'):
    prepare(root, output, classes=('x', 'y'))
  assert [path.name for path in output.iterdir()] == ['mine.txt']
  (output / 'mine.txt').unlink()
  prepare(root, output, classes=('x', 'y'))
  with pytest.raises(errors.InputError, match='with other settings;'):
    prepare(root, output, classes=('x', 'y'), resize=8)
  with pytest.raises(errors.InputError, match='with other classes;'):
    prepare(root, output, classes=('x', 'z'))


@pytest.mark.parametrize(
  ('data', 'message'),
  [
    (
      dict(resize=20),
      r'with config\.data\.resize=0, not 20; run python -m unet_jax\.prep',
    ),
    (dict(void=(9,)), r'with config\.data\.masks\.void=\[\], not \[9\]'),
    (dict(merge={'x': (2,)}), r"data\.masks\.merge={}, not {'x': \[2\]}"),
    (dict(classes=('x', 'q')), 'with the classes x, y; set'),
  ],
)
def test_other_settings_than_it_was_prepared_with_are_refused(
  prepare, write_folder, tmp_path, data, message
):
  root, output = write_folder(mask='index'), tmp_path / 'out'
  config = prepare(root, output, classes=('x', 'y'))
  with pytest.raises(errors.InputError, match=message):
    load(as_prepared(config, output, **data))


def write_old_names(output):
  """Renames the settings in the manifest to names of earlier versions."""
  path = output / 'prepared/1.0.0' / prepared.MANIFEST
  manifest = json.loads(path.read_text())
  old_names = {new: old for old, new in config_lib.RENAMED.items()}
  settings = {old_names.get(k, k): v for k, v in manifest['settings'].items()}
  assert {'data.mask', 'data.merge', 'data.train'} <= settings.keys()
  path.write_text(json.dumps(manifest | {'settings': settings}))


def test_a_set_that_an_earlier_version_prepared_is_read(
  prepare, write_folder, tmp_path
):
  root, output = write_folder(mask='index'), tmp_path / 'out'
  config = prepare(root, output, classes=('x', 'y'), void=(7,))
  write_old_names(output)
  dataset = load(as_prepared(config, output))
  assert dataset.stats == load(config).stats
  with pytest.raises(
    errors.InputError, match=r'config\.data\.masks\.void=\[7\], not \[9\]'
  ):
    load(as_prepared(config, output, void=(9,)))


def test_a_set_that_an_earlier_version_began_is_finished(
  prepare, write_folder, tmp_path
):
  root, output = write_folder('abcdef', mask='index'), tmp_path / 'out'
  prepare(root, output, classes=('x', 'y'))
  write_old_names(output)
  lines = []
  prepare(root, output, classes=('x', 'y'), say=lines.append)
  assert lines == []  # Nothing is written again.


def test_folder_that_was_never_prepared_is_reported(load_config, tmp_path):
  config = as_prepared(load_config('multiclass:folder'), tmp_path)
  with pytest.raises(errors.InputError, match='not a finished data set'):
    load(config)
  folder = tmp_path / 'prepared/1.0.0'
  folder.mkdir(parents=True)
  (folder / prepared.MANIFEST).write_text(json.dumps({'shards': {}})[:-1])
  with pytest.raises(errors.InputError, match='cannot be read'):
    load(config)


def test_the_command_that_is_printed_trains(write_folder, tmp_path):
  root = write_folder('abcdef', mask='folders')
  done = call(
    *('prepare', '--config', 'configs/multilabel.py:tiny'),
    *('--output', tmp_path / 'out', f'--config.data.root={root}'),
    *('--config.data.source=folder', "--config.data.classes=('a', 'b')"),
    *('--config.image_size=32', '--config.model.depth=1'),
  )
  python, _, _, *args = shlex.split(done.stdout.splitlines()[-1])
  assert python == 'python'
  shutil.rmtree(root)
  done = call('main', *args, '--workdir', tmp_path / 'run')
  assert 'val is 1 of 6 images' in done.stdout
  assert (tmp_path / 'run/evaluation/val.json').exists()
