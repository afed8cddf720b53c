"""The configs of the real data sets, which lie in UNET_JAX_DATA."""

import json
import os

import numpy as np
import pytest
from commands import call
from PIL import Image
from scipy import special
from sklearn import metrics

from unet_jax.data import labels, sources, spec
from unet_jax.doctor import dataset_facts, diagnosis, planning, survey
from unet_jax.evaluation import predictor, trained

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


@pytest.mark.slow
@pytest.mark.parametrize(
  ('config', 'train', 'val', 'test'),
  [
    ('binary.py:stare', 'im0001-im0005', 'im0077', 'im0162, im0163, im0235'),
    (
      'multiclass.py:diaretdb1',
      'image001-image004',
      'image005',
      'image028, image029',
    ),
    (
      'multiclass.py:camvid',
      '0001TP_006690-0001TP_006810',
      '0016E5_07959',
      '0001TP_008550',
    ),
  ],
)
def test_scikit_learn_reproduces_the_tables_from_the_written_masks(
  tmp_path, config, train, val, test
):
  workdir, output = tmp_path / 'run', tmp_path / 'masks'
  call(
    *('main', '--config', f'configs/{config}', '--workdir', workdir, *SHORT),
    *('--config.data.resize=0', '--config.total_steps=20'),
    '--config.eval_every=20',
    *(f'--config.data.split.train={train}', f'--config.data.split.val={val}'),
    f'--config.data.split.test={test}',
  )
  call('evaluate', '--workdir', workdir)
  report = json.loads((workdir / 'evaluation/test.json').read_text())
  model = trained.load(workdir)
  source = sources.open_split(spec.read(model.config), 'test', {})
  folder = f'{model.config.data.root}/images'
  inputs = [f'--input={folder}/{x}' for x in sorted(os.listdir(folder))]
  inputs = [x for x in inputs if any(name in x for name in source.keys)]
  call('predict', '--workdir', workdir, '--output', output, *inputs)
  truth, pred, logits = [], [], []
  for example in source:
    with Image.open(output / f'{example["name"]}.png') as mask:
      index = np.asarray(mask)
    is_valid = ~labels.is_void(example['label'])
    truth.append(example['label'][is_valid])
    pred.append(index[is_valid])
    (values,) = predictor.logits_of(model.predictor, model.variables, [example])
    logits.append(values[is_valid].astype(float))
  truth, pred = np.concatenate(truth), np.concatenate(pred)
  logits, classes = np.concatenate(logits), model.predictor.classes
  probs = special.softmax(logits, axis=-1)
  if not classes.exclusive:
    truth, pred, probs = truth > 0, pred > 0, special.expit(logits)
  for k, name in enumerate(classes.planes):
    own = truth == (k if classes.exclusive else 1)
    row = report['pooled']['per_class'][name]
    for key, score in (
      ('precision', metrics.precision_score),
      ('recall', metrics.recall_score),
      ('f1', metrics.f1_score),
      ('iou', metrics.jaccard_score),
    ):
      predicted = pred == (k if classes.exclusive else 1)
      exact = score(own, predicted, zero_division=0)
      assert (row[key] or 0) == pytest.approx(exact, abs=1e-6)
    if own.any():
      got, odds = report['curves'][name]['ap'], special.logit(probs[:, k])
      bins = np.floor(np.clip(odds, -24, 24) * 256 / 3)
      exact = metrics.average_precision_score(own, bins)
      assert got == pytest.approx(exact, abs=1e-4)
      if odds.std() > 1:  # Else they share a few bins.
        exact = metrics.average_precision_score(own, odds)
        assert got == pytest.approx(exact, abs=1e-3)


@pytest.mark.parametrize(
  ('config', 'titles', 'text'),
  [
    ('binary:stare', set(), ''),
    (
      'multiclass:catdog',
      {'near duplicates', 'saturated image'},
      'cat013 (train) and cat020',
    ),
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
        'saturated image',
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


@pytest.mark.parametrize(
  ('config', 'resize', 'crop'),
  [
    ('multiclass:catdog', 288, 256),  # Heads of 360 of 512 px must fit.
    ('binary:stare', 0, 256),  # Vessels of 4 px must not be scaled away.
    ('multiclass:diaretdb1', 480, 256),
  ],
)
def test_the_plan_fits_what_a_real_set_shows(load_config, config, resize, crop):
  taken = survey.take(load_config(config), with_test=False)
  facts = dataset_facts.gather(taken)
  planned = planning.plan(facts, planning.Machine(), {})
  assert planned['data.resize'][0] == resize
  assert planned['image_size'][0] == crop
