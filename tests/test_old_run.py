"""A run of earlier code can still be resumed, evaluated and used.

Commit d3e897c made old_run/ on four simulated devices, with

  python -m unet_jax.main --config configs/multiclass.py:tiny
    --config.image_size=32 --config.engine=xla --config.precision=float32

on the embedded data. The folder has:
  run.tar.gz     the folder of the run with the checkpoint of step 2, and the
                 rows and scores of all 4 steps
  step_4.npz     the weights of step 4 that d3e897c gave after it resumed from
                 step 2, by their paths in the checkpoint
  mask.png       its prediction with these weights for the image of write_images
  expected.json  SHA-256 of every array of step 4, and the versions and machine

Never regenerate the folder: these tests show that runs of users, which can't be
regenerated either, stay readable.
"""

import hashlib
import json
import pathlib
import tarfile

import jax
import jaxlib
import numpy as np
import pytest
from commands import call, rows, weights, write_images
from PIL import Image

from unet_jax import cache, defaults
from unet_jax import config as config_lib
from unet_jax.training import logs, loop

FOLDER = pathlib.Path(__file__).parent / 'old_run'
EXPECTED = json.loads((FOLDER / 'expected.json').read_text())
# Other versions or processors round differently. Then weights may differ by a
# thousandth of the largest weight of their array, and scores and losses by a
# thousandth. One device instead of four makes a tenth of that difference.
CURRENT = {
  'jax': jax.__version__,
  'jaxlib': jaxlib.__version__,
  'machine': cache.machine(),
}
IS_SAME_MACHINE = CURRENT.items() <= EXPECTED.items()


def unpack(workdir, root):
  """Unpacks the run, with its data in `root`; returns its rows and scores."""
  with tarfile.open(FOLDER / 'run.tar.gz') as file:
    file.extractall(workdir, filter='data')
  path = workdir / 'config.json'
  path.write_text(path.read_text().replace('/data/fundus', root))
  scores = (workdir / 'evaluation/test.json').read_text()
  return rows(workdir), json.loads(scores)


@pytest.fixture(scope='module')
def resumed(tmp_path_factory, fundus_root):
  """Gives the folder of the resumed run, and the old rows and scores."""
  workdir = tmp_path_factory.mktemp('old') / 'run'
  old = unpack(workdir, fundus_root)
  (workdir / 'evaluation/test.json').unlink()
  config = config_lib.load(workdir / 'config.json')
  # The old run was compiled with the optimizations that conftest.py disables.
  jax.config.update('jax_disable_most_optimizations', False)
  loop.train_and_evaluate(config, workdir)
  yield workdir, *old
  jax.config.update('jax_disable_most_optimizations', True)


def assert_equal(new, old):
  """Asserts that nested dicts of numbers are equal, or close elsewhere.

  The new ones may have more keys.
  """
  if isinstance(old, dict):
    assert new.keys() >= old.keys()
    for key, value in old.items():
      assert_equal(new[key], value)
  elif IS_SAME_MACHINE or not isinstance(old, float):
    assert new == old
  else:
    assert new == pytest.approx(old, rel=1e-3, abs=1e-3)


def test_its_config_has_the_current_keys_and_equals_that_of_its_flags(
  tmp_path, load_config
):
  unpack(tmp_path, '/data/fundus')
  old = config_lib.load(tmp_path / 'config.json')
  keys = config_lib.flatten(defaults.get_config()).keys()
  own = {
    key for key in config_lib.flatten(old) if 'data.masks.merge' not in key
  }
  assert own == {key for key in keys if 'data.masks.merge' not in key}
  new = load_config(
    'multiclass:tiny', image_size=32, engine='xla', precision='float32'
  )
  new.update_from_flattened_dict(config_lib.EARLIER)
  assert config_lib.differences(old, new) == [
    "config.data.root: '/data/fundus' -> ''"
  ]


def test_it_resumes_to_the_same_weights(resumed):
  workdir, *_ = resumed
  step, arrays = weights(workdir)
  assert step == 4
  assert arrays.keys() == EXPECTED['sha256'].keys()
  with np.load(FOLDER / 'step_4.npz') as file:
    for path, old in file.items():
      atol = 0 if IS_SAME_MACHINE else 1e-3 * np.abs(old).max()
      np.testing.assert_allclose(arrays[path], old, rtol=0, atol=atol)
  if IS_SAME_MACHINE:
    assert EXPECTED['sha256'] == {
      path: hashlib.sha256(array.tobytes()).hexdigest()
      for path, array in arrays.items()
    }


def test_it_resumes_to_the_same_losses_and_scores(resumed):
  workdir, old_rows, _ = resumed
  new_rows = rows(workdir)
  assert len(new_rows) == len(old_rows)
  for new, old in zip(new_rows, old_rows, strict=True):
    for name in logs.TIMES:
      new.pop(name, None)
      old.pop(name, None)
    assert new.items() >= {k: new.get(k) for k in old}.items()
    assert_equal({k: new[k] for k in old}, old)


def test_it_is_evaluated_to_the_same_scores(resumed, fundus_root):
  workdir, _, old = resumed
  (workdir / 'evaluation/test.json').unlink()
  call('evaluate', '--workdir', workdir, '--checkpoint=4')
  new = json.loads((workdir / 'evaluation/test.json').read_text())
  if IS_SAME_MACHINE:
    assert_equal({k: new[k] for k in old}, old)
  assert_equal(new['pooled']['macro'], old['pooled']['macro'])


def test_it_predicts_the_same_mask(resumed, tmp_path):
  workdir, *_ = resumed
  images = write_images(tmp_path / 'data', 1) / 'images'
  output = tmp_path / 'masks'
  call(
    *('predict', '--workdir', workdir, '--checkpoint=4'),
    *('--input', images, '--output', output),
  )
  new, old = (
    np.asarray(Image.open(path))
    for path in (output / 'im0.png', FOLDER / 'mask.png')
  )
  assert new.shape == old.shape
  assert (new != old).mean() <= (0 if IS_SAME_MACHINE else 0.01)


def test_its_checkpoint_is_evaluated_with_data_that_has_moved(
  tmp_path, fundus_root
):
  unpack(tmp_path, '/data/moved')
  done = call(
    *('evaluate', '--workdir', tmp_path, '--checkpoint=2', '--split=val'),
    *('--data_root', fundus_root),
  )
  assert 'val split, 8 images, weights of step 2' in done.stdout
