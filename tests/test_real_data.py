"""The configs of the real data sets, which lie in UNET_JAX_DATA."""

import json
import os

import pytest
from commands import call

from unet_jax.doctor import diagnosis, survey

DATA = os.environ.get('UNET_JAX_DATA', '')
pytestmark = pytest.mark.skipif(
  not os.path.isdir(DATA), reason='UNET_JAX_DATA names no folder'
)
SHORT = (
  *('--config.total_steps=2', '--config.image_size=32'),
  *('--config.batch_size=4', '--config.eval_every=2'),
  *('--config.model.depth=1', '--config.model.width=4'),
  '--config.data.resize=128',  # Hundreds of images are scored.
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


@pytest.mark.parametrize(
  ('config', 'titles', 'text'),
  [
    ('binary:stare', set(), ''),
    ('multiclass:catdog', {'near duplicates'}, 'cat013 (train) and cat020'),
    (
      'multiclass:diaretdb1',
      {
        'overlapping classes',
        'distribution shift',
        'outside the view',
        'agreement levels',
        'vanishing components',
      },
      'hardexudates in 27 of 27 train and 19 of 62 test images',
    ),
    (
      'multiclass:camvid',
      {
        'near duplicates',
        'group leakage',
        'distribution shift',
        'colour shift',
      },
      '0001TP_009360 and 0001TP_009390',
    ),
  ],
)
def test_doctor_finds_the_known_faults_of_a_real_set(
  load_config, config, titles, text
):
  taken = survey.take(load_config(config))
  findings = diagnosis.diagnose(taken, num_devices=1)
  assert not diagnosis.has_errors(findings)
  usual = {'present in all', 'empty images', 'steps per epoch', 'rare class'}
  assert {finding.title for finding in findings} - usual == titles
  assert any(text in finding.text for finding in findings)
