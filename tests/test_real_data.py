"""The configs of the real data sets, where UNET_JAX_DATA says they lie."""

import json
import os

import pytest
from test_run import call

DATA = os.environ.get('UNET_JAX_DATA', '')
pytestmark = pytest.mark.skipif(
  not os.path.isdir(DATA), reason='UNET_JAX_DATA names no folder'
)
SHORT = (
  *('--config.total_steps=2', '--config.image_size=64'),
  *('--config.batch_size=2', '--config.eval_every=2'),
  *('--config.model.depth=2', '--config.model.width=4'),
)


STREET = ['sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign']
STREET += ['fence', 'car', 'pedestrian', 'bicyclist']
LESIONS = ['hemorrhages', 'redsmalldots', 'hardexudates', 'softexudates']


@pytest.mark.parametrize(
  ('config', 'classes', 'num_images', 'note'),
  [
    ('binary.py:stare', ['vessels'], 10, 'no val split'),
    (
      'multiclass.py:diaretdb1',
      ['background', 'red_lesions', 'bright_lesions'],
      62,
      'classes overlap in ',
    ),
    ('multiclass.py:catdog', ['background', 'cat', 'dog'], 15, 'no test split'),
    ('multiclass.py:camvid', STREET, 233, '(multiclass)'),
    ('multilabel.py:diaretdb1', LESIONS, 62, 'softexudates: 86'),
    ('multilabel.py:soft', LESIONS, 62, 'labels are probabilities'),
  ],
)
def test_a_real_set_trains_from_its_config(
  tmp_path, config, classes, num_images, note
):
  workdir = tmp_path / 'run'
  done = call(
    'main', '--config', f'configs/{config}', '--workdir', workdir, *SHORT
  )
  (path,) = workdir.glob('evaluation/*.json')
  report = json.loads(path.read_text())
  assert list(report['confusion']) == classes
  assert report['num_images'] == num_images
  assert all(row['support'] for row in report['pooled']['per_class'].values())
  assert note in done.stdout
