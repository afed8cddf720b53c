"""The package as programs call it."""

import importlib
import json
import pkgutil
import re
import sys

import numpy as np
import pytest
from commands import call, run
from PIL import Image

import unet_jax
from unet_jax import api, errors
from unet_jax.data.checks.finding import Finding


@pytest.fixture(scope='module')
def photo(tmp_path_factory):
  """Gives the path of an image of 50x70 pixels."""
  path = tmp_path_factory.mktemp('photos') / 'a.png'
  pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
  Image.fromarray(pixels).save(path)
  return path


@pytest.fixture(scope='module')
def loaded(finished):
  """Gives the loaded tiny run, of two classes that exclude each other."""
  return unet_jax.load(str(finished[0]))


def test_a_run_segments_as_predict_does(finished, loaded, photo, tmp_path):
  call(
    *('predict', '--workdir', finished[0], '--input', photo),
    *('--output', tmp_path),
  )
  with Image.open(tmp_path / 'a.png') as image:
    written = np.asarray(image)
  mask = loaded(photo)
  assert mask.dtype == np.uint8
  np.testing.assert_array_equal(mask, written)


def test_an_image_may_be_a_path_an_array_or_pillows(loaded, photo):
  with Image.open(photo) as image:
    image.load()
  several = loaded([str(photo), photo, np.asarray(image), image])
  assert len(several) == 4
  for mask in several:
    np.testing.assert_array_equal(mask, loaded(photo))


def test_a_grey_image_has_three_equal_channels(loaded):
  grey = np.random.default_rng(0).integers(0, 256, (40, 48), np.uint8)
  color = np.repeat(grey[..., None], 3, axis=-1)
  expected = loaded(color)
  for image in (grey, grey[..., None], Image.fromarray(grey)):
    np.testing.assert_array_equal(loaded(image), expected)


@pytest.mark.parametrize(
  ('image', 'part'),
  [
    (np.zeros((8, 8), np.float32), 'are float32, but those of the training'),
    (np.zeros((2, 8, 8, 3), np.uint8), 'uint8[2, 8, 8, 3]; give an array'),
    (Image.new('RGBA', (8, 8)), 'mode RGBA; convert it'),
    ('no/such.png', 'no/such.png: no such file'),
  ],
)
def test_what_is_no_image_is_refused(loaded, image, part):
  with pytest.raises(errors.InputError, match=re.escape(part)):
    loaded(image)


def test_the_largest_probability_is_the_class(loaded, photo):
  probs = loaded.probabilities(photo)
  assert probs.dtype == np.float32
  assert (
    probs.shape == (50, 70, 3) == (*loaded(photo).shape, len(loaded.classes))
  )
  np.testing.assert_allclose(probs.sum(axis=-1), 1, atol=1e-5)
  np.testing.assert_array_equal(probs.argmax(axis=-1), loaded(photo))


def test_a_run_has_its_classes_config_and_scores(finished, loaded):
  assert loaded.classes == ('background', 'red_lesions', 'bright_lesions')
  assert loaded.config.model.width == 4
  text = (finished[0] / 'evaluation/test.json').read_text()
  assert loaded.scores['test'] == json.loads(text)
  for shown in (
    repr(loaded.scores['test']),
    loaded.scores['test']._repr_html_(),
  ):
    for word in ('bright_lesions', 'weighted', 'precision'):
      assert word in shown


def test_a_diagnosis_is_shown_as_text_and_as_html():
  finding = Finding('error', 'no folder', 'no <masks>', files=('x/1.png',))
  row = {'images': 3, 'pixels': 5, 'trivial_f1': dict(a=0, b=0.25, c=None)}
  facts = {'train': {'images': 4, 'pixels': 50, 'classes': {'cat': row}}}
  diagnosis = api.Diagnosis([finding], {'splits': facts})
  assert diagnosis.has_errors
  assert 'error no folder: no <masks>' in repr(diagnosis)
  html = diagnosis._repr_html_()
  assert 'no &lt;masks&gt;' in html
  for shown in (repr(diagnosis), html):
    for part in ('x/1.png', 'cat', '0.2500', '10 %', '1 error, 0 warnings'):
      assert part in shown


@pytest.mark.parametrize(
  ('name', 'settings', 'part'),
  [
    ('binary:odd', {}, "no variant 'odd'"),
    ('nothing', {}, 'no preset'),
    ('binary', {'learning_rate': 1}, 'did you mean optim.lr?'),
    (
      'binary',
      {'optim.lr': 'fast'},
      "config.optim.lr is 'fast'; it must be a n",
    ),
    ('binary', {'data.classes': 'cat'}, 'it must be a tuple'),
  ],
)
def test_a_config_that_cannot_be_is_refused(name, settings, part):
  with pytest.raises(errors.InputError, match=re.escape(part)):
    unet_jax.get_config(name, **settings)


def test_settings_become_what_configs_hold(tmp_path):
  config = unet_jax.get_config(
    'multiclass:folder',
    **{
      'data.root': tmp_path,
      'data.classes': ['cat', 'dog'],
      'data.masks.merge': {'cat': (1, 2)},
      'optim.lr': 1,
    },
  )
  assert config.data.root == str(tmp_path)
  assert config.data.classes == ('cat', 'dog')
  assert config.data.masks.merge.to_dict() == {'cat': (1, 2)}
  assert config.optim.lr == 1.0
  assert isinstance(config.optim.lr, float)


def test_a_folder_without_a_run_is_refused(tmp_path):
  with pytest.raises(errors.InputError, match='holds no checkpoint'):
    unet_jax.load(tmp_path)


def test_no_name_is_that_of_a_module():
  names = [*unet_jax.__all__]
  before = {name: getattr(unet_jax, name) for name in names}
  for module in pkgutil.walk_packages(unet_jax.__path__, 'unet_jax.'):
    importlib.import_module(module.name)
  for name in names:
    assert getattr(unet_jax, name) is before[name]
    assert callable(before[name])
    assert f'unet_jax.{name}' not in sys.modules


CHECK = """
import os, sys, time
before = time.perf_counter()
import unet_jax
taken = time.perf_counter() - before
assert 'jax' not in sys.modules and 'numpy' not in sys.modules
import jax
jax.numpy.zeros(2).block_until_ready()
flags, cache = dict(os.environ), jax.config.jax_compilation_cache_dir
try:
  unet_jax.load('no/such/run')
except unet_jax.InputError:
  pass
assert dict(os.environ) == flags
assert jax.config.jax_compilation_cache_dir == cache
"""


@pytest.mark.process
def test_importing_is_silent_and_leaves_a_running_jax_as_it_is():
  done = run('-c', CHECK)
  assert done.returncode == 0, done.stderr
  assert not done.stdout + done.stderr
