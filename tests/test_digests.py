"""A run refuses images that are not those that it began with."""

import hashlib
import itertools
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from settings import set_data

from unet_jax import config as config_lib
from unet_jax import errors, parallel
from unet_jax.data import sources, spec, stats
from unet_jax.training import digests, feed, job

NAMES = list('abcdefgh')


@pytest.fixture
def load(load_config):
  """Gives root -> its decoded splits: train a to f, val g and h."""

  def read(root):
    config = load_config('binary:tiny')
    set_data(config, source='folder', root=str(root), mask='binary')
    config.data.classes = ('a',)
    loaded = spec.read(config)
    return sources.load(loaded, sources.open_layout(loaded))

  return read


def invert(path):
  """Swaps 0 and 255 in a mask, so that no moment of the image changes."""
  Image.fromarray(255 - np.asarray(Image.open(path))).save(path)


def test_a_digest_is_that_of_the_pixels_with_their_shapes():
  image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
  label = np.arange(8, dtype=np.uint8).reshape(2, 4)
  text = b'image uint8 (2, 4, 3)\n' + bytes(range(24))
  text += b'label uint8 (2, 4)\n' + bytes(range(8))
  example = {'name': 'x', 'image': image, 'label': label, 'overlap': 3}
  assert stats.digest(example) == hashlib.sha256(text).hexdigest()
  turned = example | {'image': image.reshape(4, 2, 3)}
  assert stats.digest(turned) != stats.digest(example)
  weighted = example | {'weight_map': np.ones((2, 4), np.float32)}
  assert stats.digest(weighted) != stats.digest(example)


def test_inverted_masks_of_train_and_val_are_named(write_folder, load):
  root = write_folder(NAMES, train='abcdef', val='g', test='h')
  before = load(root)
  for name in 'bgh':
    invert(root / f'masks/{name}.png')
  after = load(root)
  # The test image is not one that the run learnt from.
  assert list(before.images) == list('abcdefg')
  assert before.stats.mean == after.stats.mean
  assert before.digests == after.digests
  with pytest.raises(errors.InputError, match='folder: images b, g, or masks'):
    digests.check(before.images, after.images, after.root)


def test_a_missing_and_a_new_image_are_named():
  images = dict.fromkeys(NAMES, '0')
  digests.check(images, dict(reversed(images.items())), '/data')
  with pytest.raises(errors.InputError, match='/data: images h, x, or masks'):
    digests.check(images, {**dict.fromkeys(NAMES[:-1], '0'), 'x': '0'}, '/data')


def test_a_resumed_run_names_the_image_that_has_changed(
  finished, tmp_path, capsys
):
  workdir = shutil.copytree(finished[0], tmp_path / 'run')
  saved = digests.load(workdir)
  config = config_lib.load(workdir / 'config.json')
  config.total_steps += 1

  def prepare():
    return job.prepare(config, workdir, init_from='', overwrite=False)

  name = list(saved)[3]
  digests.save(workdir, saved | {name: '0' * 64})
  with pytest.raises(errors.InputError, match=re.escape(f'image {name}, or')):
    prepare()
  assert capsys.readouterr().out == ''
  (workdir / digests.FILE).unlink()
  assert dict(prepare().dataset.images) == saved
  assert f'has no {digests.FILE}' in capsys.readouterr().out


@pytest.mark.parametrize('loss', ['changed', 'gone'])
def test_an_image_that_changes_during_training_is_named(
  write_folder, load, load_config, monkeypatch, loss
):
  monkeypatch.setattr(stats, 'IN_MEMORY', 0)
  root = write_folder(NAMES, train='abcdef', val='gh')
  dataset = load(root)
  config = load_config('binary:tiny', image_size=32, batch_size=4)
  fed = feed.batches(config, dataset, 'host')
  next(fed)
  for name in 'abcdef':
    path = root / f'masks/{name}.png'
    if loss == 'changed':
      invert(path)
    else:
      path.unlink()
  match = 'image . or its mask has changed' if loss == 'changed' else 'masks/'
  with pytest.raises(errors.InputError, match=match):
    list(itertools.islice(fed, 30))


@pytest.mark.parametrize(
  ('others', 'text'),
  [
    ({'a': '1', 'b': '2', 'c': '3'}, ''),
    ({'a': '1', 'b': '0', 'c': '0'}, 'process 1: images b, c;'),
    ({'a': '1', 'x': '2', 'c': '3'}, 'process 1: image b;'),
    ({'a': '1', 'b': '2'}, 'process 1: 2 images;'),
  ],
)
def test_processes_with_other_images_are_named(monkeypatch, others, text):
  images = {'a': '1', 'b': '2', 'c': '3'}
  sent = {}  # What process 1 sends, in order.

  def send(array):
    sent[array.shape] = array
    return array[None]

  def gather(array):
    theirs = [x for x in sent.values() if x.ndim == array.ndim]
    return np.stack([array, *theirs])

  monkeypatch.setattr(parallel, 'gather_hosts', send)
  digests.check_processes(others)
  monkeypatch.setattr(parallel, 'gather_hosts', gather)
  if not text:
    digests.check_processes(images)
    return
  with pytest.raises(errors.InputError, match=text):
    digests.check_processes(images)
