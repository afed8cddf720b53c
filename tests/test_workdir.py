"""A run holds its folder, and says what is wrong with what lies in it."""

import errno
import os
import re

import pytest

from unet_jax import config as config_lib
from unet_jax import defaults, errors
from unet_jax.data import splits
from unet_jax.training import digests
from unet_jax.training import workdir as workdir_lib


def test_a_folder_is_held_with_a_file_that_says_by_whom(tmp_path):
  with workdir_lib.hold(tmp_path):
    text = (tmp_path / workdir_lib.LOCK).read_text()
    assert re.match(rf'process {os.getpid()} on \S+ since \d{{4}}-', text)
  assert not list(tmp_path.iterdir())


def test_a_folder_that_was_made_for_nothing_is_removed(tmp_path):
  with (
    pytest.raises(errors.InputError, match='another reason'),
    workdir_lib.hold(tmp_path / 'run'),
  ):
    raise errors.InputError('another reason')
  assert not (tmp_path / 'run').exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
  (tmp_path / 'file').write_text('')
  with (
    pytest.raises(errors.InputError, match='file/run cannot be written'),
    workdir_lib.hold(tmp_path / 'file/run'),
  ):
    pass


@pytest.mark.parametrize(
  'content',
  [b'', b'{', b'[]', b'7', b'null', b'"x"', b'\x80\x04', b'[' * 100_000],
)
def test_damaged_files_of_a_run_are_named(tmp_path, content):
  for name, load in (
    (
      workdir_lib.CONFIG,
      lambda: config_lib.load(tmp_path / workdir_lib.CONFIG),
    ),
    ('splits.json', lambda: splits.load(tmp_path)),
    ('digests.json', lambda: digests.load(tmp_path)),
  ):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(errors.InputError, match=f'{name} cannot be read'):
      load()


@pytest.mark.parametrize(
  'content',
  ['{"train": 5}', '{"train": [5]}', '{"folds": [5]}', '{"folds": 5}'],
)
def test_splits_that_are_no_names_are_refused(tmp_path, content):
  (tmp_path / splits.FILE).write_text(content)
  with pytest.raises(errors.InputError, match='holds no lists of names'):
    splits.load(tmp_path)


def full(number=errno.ENOSPC):
  return OSError(number, os.strerror(number), '/runs/a')


def chained(cause):
  try:
    try:
      raise cause
    except OSError as error:
      raise RuntimeError('a checkpoint has failed') from error
  except RuntimeError as error:
    return error


@pytest.mark.parametrize(
  ('error', 'why'),
  [
    (full(), 'No space left on device'),
    (full(errno.EROFS), 'Read-only file system'),
    (chained(full()), 'No space left on device'),
    (ValueError('[/a] write failed: No space left on device'), 'No space left'),
  ],
)
def test_a_fault_of_the_disk_is_one_line(tmp_path, error, why):
  with (
    pytest.raises(errors.InputError, match=f'{tmp_path} cannot be .*{why}'),
    workdir_lib.naming_disk_faults(tmp_path),
  ):
    raise error


def test_other_errors_stay_what_they_are(tmp_path):
  with (
    pytest.raises(FileNotFoundError),
    workdir_lib.naming_disk_faults(tmp_path),
  ):
    raise full(errno.ENOENT)


def test_a_run_of_an_earlier_version_keeps_reading_8_bits(tmp_path):
  path, config = tmp_path / workdir_lib.CONFIG, defaults.get_config()
  assert workdir_lib.adopt_earlier(tmp_path, config).data.bits == 'stored'
  config_lib.save(config, path)
  assert workdir_lib.adopt_earlier(tmp_path, config).data.bits == 'stored'
  assert config_lib.load(path).data.bits == 'stored'
  path.write_text(path.read_text().replace('"bits": "stored",', ''))
  assert 'bits' not in path.read_text()
  assert workdir_lib.adopt_earlier(tmp_path, config).data.bits == '8'
  assert config_lib.load(path).data.bits == '8'
