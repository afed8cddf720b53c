"""The masks of a second observer are scored as a prediction."""

import json

import numpy as np
import pytest
from PIL import Image
from settings import set_data
from sklearn import metrics

from unet_jax import build, errors
from unet_jax.data import observer as data_observer
from unet_jax.data import sources, spec
from unet_jax.evaluation import observer

SIZE = (40, 48)


@pytest.fixture
def opened(write_folder, load_config):
  """Gives the settings, the test split, the classes and a folder of masks."""
  root = write_folder('abcde', 'index', SIZE, train='ab', test='cde')
  folder = root / 'second'
  folder.mkdir()
  rng = np.random.default_rng(7)
  for name in 'cde':
    mask = rng.choice(np.array([0, 1, 2], np.uint8), SIZE)
    Image.fromarray(mask).save(folder / f'{name}_2nd.png')
  config = load_config('multiclass:folder')
  set_data(config, root=str(root), mask='index', classes=('a', 'b'))
  data_spec = spec.read(config)
  split = sources.open_split(data_spec, 'test', {})
  return data_spec, split, build.make_classes(config, ('a', 'b')), folder


def test_masks_score_what_scikit_learn_says(opened, tmp_path):
  data_spec, split, classes, folder = opened
  path = tmp_path / 'test_second.json'
  observed = data_observer.open_masks(data_spec, folder, split)
  table = observer.evaluate(observed, split, classes, path)
  truth, marked = [], []
  for name in 'cde':
    for labels, file in (
      (truth, folder.parent / f'masks/{name}.png'),
      (marked, folder / f'{name}_2nd.png'),
    ):
      with Image.open(file) as image:
        labels.append(np.asarray(image).ravel())
  f1 = metrics.f1_score(
    np.concatenate(truth), np.concatenate(marked), average=None
  )
  report = json.loads(path.read_text())
  for k, name in enumerate(('background', 'a', 'b')):
    assert report['pooled']['per_class'][name]['f1'] == pytest.approx(f1[k])
    assert f'{f1[k]:.4f}' in table
  assert 'curves' not in report
  assert path.with_suffix('.npz').exists()


def test_a_missing_mask_and_data_without_files_are_refused(opened):
  data_spec, split, _, folder = opened
  (folder / 'd_2nd.png').unlink()
  with pytest.raises(errors.InputError, match='lacks the masks of d;'):
    data_observer.open_masks(data_spec, folder, split)
  other = data_spec._replace(source='tfds')
  with pytest.raises(errors.InputError, match='one file of masks per image'):
    data_observer.open_masks(other, folder, split)
