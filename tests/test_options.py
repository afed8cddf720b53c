"""What is scored is what is written, whatever decides the masks."""

import csv
import json
import shutil

import numpy as np
import pytest
from commands import ROOT, call, write_images
from PIL import Image
from scipy import ndimage, special
from sklearn import metrics

import unet_jax
from unet_jax import errors

VIEW = np.ones((72, 96), bool)
VIEW[:, :20] = False  # Outside of the field of view.


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """Gives the folder of a binary run, which has steps 2 and 4, and its data."""
  root = write_images(tmp_path_factory.mktemp('discs') / 'data', 8)
  (root / 'views').mkdir()
  for i in range(8):
    Image.fromarray(VIEW).save(root / f'views/im{i}.png')
  (root / 'test.txt').write_text('im5\nim6\nim7\n')
  (root / 'val.txt').write_text('im3\nim4\n')
  (root / 'train.txt').write_text('im0\nim1\nim2\n')
  workdir = root.parent / 'run'
  call(
    *('main', '--config', 'binary:folder', '--workdir', workdir),
    *(f'--config.data.root={root}', '--config.data.fov=views'),
    *('--config.total_steps=4', '--config.save_every=2'),
    *('--config.eval_every=2', '--config.image_size=32'),
    *('--config.batch_size=4', '--config.window=64'),
    *('--config.model.depth=1', '--config.model.width=4'),
  )
  return workdir, root


def copy(run, tmp_path):
  """Copies the run's folder; returns the copy and the images of its test."""
  workdir = tmp_path / 'run'
  shutil.copytree(run[0], workdir)
  return workdir, [run[1] / f'images/im{i}.png' for i in (5, 6, 7)]


def evaluate(workdir, name, *args):
  """Evaluates; returns evaluation/NAME.json and what is printed."""
  done = call('evaluate', '--workdir', workdir, *args)
  path = workdir / 'evaluation' / f'{name}.json'
  return json.loads(path.read_text()), done.stdout


def predict(workdir, images, output, *args):
  """Predicts; returns masks bool[H, W] and probabilities float32[H, W]."""
  call(
    *('predict', '--workdir', workdir, '--output', output),
    *(word for image in images for word in ('--input', image)),
    *('--probabilities=npy', *args),
  )
  masks = []
  for image in images:
    with Image.open(output / image.name) as mask:
      masks.append(np.asarray(mask) > 0)
  probs = [np.load(output / f'{x.stem}_probabilities.npy') for x in images]
  return masks, [x[..., 0] for x in probs]


def f1_of(images, masks, view=VIEW):
  """Returns scikit-learn's F1 of masks, in the field of view."""
  truth, pred = [], []
  for image, mask in zip(images, masks, strict=True):
    with Image.open(image.parents[1] / 'masks' / image.name) as file:
      truth.append(np.asarray(file)[view] > 0)
    pred.append(mask[view])
  return metrics.f1_score(np.concatenate(truth), np.concatenate(pred))


def test_thresholds_are_chosen_on_val_and_decide_masks_and_scores(
  run, tmp_path
):
  workdir, images = copy(run, tmp_path)
  done = call(
    *('predict', '--workdir', workdir, '--output', tmp_path / 'out'),
    *('--input', images[0], '--thresholds'),
    check=False,
  )
  assert done.returncode == 1
  command = done.stderr.partition(' by: python -m unet_jax.')[2].split()
  text = call(*command).stdout  # The remedy that is printed.
  assert 'chosen on val, 2 images' in text
  report = json.loads((workdir / 'evaluation/test_thresholds.json').read_text())
  saved = json.loads((workdir / 'evaluation/thresholds.json').read_text())
  row = saved['classes']['foreground']
  masks, probs = predict(workdir, images, tmp_path / 'out', '--thresholds')
  for mask, p in zip(masks, probs, strict=True):
    at_least = special.logit(p.astype(np.float64)) >= row['logit']
    assert np.count_nonzero(mask != at_least) <= 2  # Equal but for rounding.
  f1 = report['pooled']['per_class']['foreground']['f1']
  assert f1 == pytest.approx(f1_of(images, masks), abs=1e-6)
  half = report['variants']['at 1/2']['per_class']['foreground']['f1']
  plain, _ = predict(workdir, images, tmp_path / 'plain')
  assert half == pytest.approx(f1_of(images, plain), abs=1e-6)
  assert f'{f1:.4f}' in text
  assert f'{half:.4f}' in text
  on_val = [images[0].parent / f'im{i}.png' for i in (3, 4)]
  masks, _ = predict(workdir, on_val, tmp_path / 'val', '--thresholds')
  assert row['f1'] == pytest.approx(f1_of(on_val, masks), abs=1e-6)
  assert row['f1'] > row['f1_at_half']


def test_small_components_are_neither_scored_nor_written(run, tmp_path):
  workdir, images = copy(run, tmp_path)
  report, _ = evaluate(workdir, 'test_min9', '--smallest_component=9')
  assert report['options'] == {'smallest_component': 9}
  output = tmp_path / 'out'
  plain, _ = predict(workdir, images, output)
  masks, _ = predict(workdir, images, output, '--smallest_component=9')
  for mask, before in zip(masks, plain, strict=True):
    label, _ = ndimage.label(before)
    is_kept = np.bincount(label.ravel()) >= 9
    np.testing.assert_array_equal(mask, is_kept[label] & before)
  assert any((a != b).any() for a, b in zip(masks, plain, strict=True))
  f1 = report['pooled']['per_class']['foreground']['f1']
  assert f1 == pytest.approx(f1_of(images, masks), abs=1e-6)
  with (output / 'predictions.csv').open(newline='') as file:
    options = {row['options'] for row in csv.DictReader(file)}
  assert options == {'probabilities=npy polygons=False smallest_component=9'}


def test_scores_of_the_whole_image_stand_beside_the_field_of_view(
  run, tmp_path
):
  workdir, images = copy(run, tmp_path)
  report = json.loads((workdir / 'evaluation/test.json').read_text())
  masks, _ = predict(workdir, images, tmp_path / 'out')
  inside = report['pooled']['per_class']['foreground']['f1']
  whole = report['variants']['whole image']['per_class']['foreground']['f1']
  assert inside == pytest.approx(f1_of(images, masks), abs=1e-6)
  everywhere = np.ones_like(VIEW)
  assert whole == pytest.approx(f1_of(images, masks, everywhere), abs=1e-6)
  assert inside != whole
  assert 'whole image' in (workdir / 'report.html').read_text()


def test_options_leave_the_usual_evaluation_as_it_is(run, tmp_path):
  workdir, _ = copy(run, tmp_path)
  before = (workdir / 'evaluation/test.json').read_text()
  page = (workdir / 'report.html').read_text()
  _, text = evaluate(workdir, 'test_min5', '--smallest_component=5')
  assert (workdir / 'evaluation/test.json').read_text() == before
  assert (workdir / 'report.html').read_text() == page
  assert 'report.html' not in text


def test_exclusive_classes_have_no_thresholds(finished):
  image = ROOT / 'docs/example.png'
  for args in (('evaluate',), ('predict', '--input', image, '--output=x')):
    args += ('--thresholds', '--workdir', finished[0])
    done = call(*args, check=False)
    assert done.returncode == 1
    assert 'the most probable one wins' in done.stderr


def test_augmented_probabilities_are_scored_and_written(run, tmp_path):
  workdir, images = copy(run, tmp_path)
  report, _ = evaluate(workdir, 'test_flips', '--augment=flips')
  assert report['options'] == {'augment': ['flips']}
  output = tmp_path / 'out'
  masks, probs = predict(workdir, images, output, '--augment=flips')
  row = report['pooled']['per_class']['foreground']
  assert row['f1'] == pytest.approx(f1_of(images, masks), abs=1e-6)
  for mask, p in zip(masks, probs, strict=True):
    np.testing.assert_array_equal(mask, p > 0.5)
  loaded = unet_jax.load(workdir, augment=['flips'])
  np.testing.assert_array_equal(loaded(images[0]) > 0, masks[0])
  np.testing.assert_allclose(
    loaded.probabilities(images[0])[..., 1], probs[0], atol=1e-6
  )
  _, usual = predict(workdir, images, output)
  assert not np.allclose(probs[0], usual[0], atol=1e-3)
  with pytest.raises(errors.InputError, match='a list of flips, turns, scales'):
    unet_jax.load(workdir, augment='flips')


def test_several_checkpoints_are_averaged(run, tmp_path):
  workdir, images = copy(run, tmp_path)
  report, text = evaluate(workdir, 'test_ensemble', '--checkpoint=2,4')
  assert report['options'] == {'weights': ['step 2', 'step 4']}
  assert 'weights of step 2, step 4' in text
  output = tmp_path / 'out'
  masks, probs = predict(workdir, images, output, '--checkpoint=2,4')
  row = report['pooled']['per_class']['foreground']
  assert row['f1'] == pytest.approx(f1_of(images, masks), abs=1e-6)
  each = [
    predict(workdir, images, tmp_path / step, f'--checkpoint={step}')[1]
    for step in '24'
  ]
  for mean, one, two in zip(probs, *each, strict=True):
    np.testing.assert_allclose(mean, (one + two) / 2, atol=1e-5)


def test_folds_are_one_model_with_thresholds_of_their_own(run, tmp_path):
  workdir, images = copy(run, tmp_path)
  folds = tmp_path / 'folds'
  for i in range(2):
    shutil.copytree(workdir, folds / f'fold{i}')
  names = ['fold0 step 4', 'fold1 step 4']
  row = dict(threshold=0.5, logit=0.0, f1=1.0, f1_at_half=1.0)
  saved = dict(weights=names, origin='x', classes={'foreground': row})
  (folds / 'evaluation').mkdir()
  path = folds / 'evaluation/thresholds_ensemble.json'
  path.write_text(json.dumps(saved))
  args = ('--checkpoint=4', '--thresholds')
  _, together = predict(folds, images, tmp_path / 'out', *args)
  _, alone = predict(workdir, images, tmp_path / 'alone', '--checkpoint=4')
  np.testing.assert_allclose(together, alone, atol=1e-5)
  report, _ = evaluate(folds, 'test_ensemble', '--checkpoint=4')
  assert report['options'] == {'weights': names}


def test_what_cannot_be_averaged_is_refused_in_one_line(
  run, tmp_path, finished
):
  workdir, _ = copy(run, tmp_path)
  other = tmp_path / 'other'
  shutil.copytree(workdir, other)
  lists = json.loads((other / 'splits.json').read_text())
  lists['train'] += lists['val'][:1]
  (other / 'splits.json').write_text(json.dumps(lists))
  for args, text in (
    (('--workdir', finished[0]), 'config.task is binary in'),
    (('--checkpoint=best,4,4',), 'is named twice; name each once'),
    (('--workdir', other, '--split=val'), 'other has trained on im3; score'),
  ):
    done = call('evaluate', '--workdir', workdir, *args, check=False)
    assert done.returncode == 1
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1
