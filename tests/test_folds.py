"""Cross-validation: every image is scored once, by a run not trained on it."""

import json
import shutil

import numpy as np
import pytest
from sklearn import metrics
from test_thresholds import f1_at

from unet_jax import config as config_lib
from unet_jax import errors
from unet_jax.data import labels
from unet_jax.evaluation import curves, measuring, records, thresholds
from unet_jax.experiments import folds

TRAIN, TEST = 'abcdefg', 'xy'


@pytest.fixture
def config(load_config, write_folder):
  root = write_folder(TRAIN + TEST, 'index', train=TRAIN, test=TEST)
  return load_config(
    'multiclass:tiny',
    **{
      'total_steps': 2,
      'image_size': 16,
      'model.depth': 1,
      'data.source': 'folder',
      'data.root': str(root),
      'data.masks.kind': 'index',
      'data.masks.merge': {},
      'data.classes': ('a', 'b'),
    },
  )


def test_folds_partition_train_and_their_counts_are_summed(
  config, tmp_path, capsys
):
  workdir = tmp_path / 'run'
  folds.cross_validate(config, workdir, 2)
  path = workdir / 'evaluation' / 'folds.json'
  text, report = path.read_text(), json.loads(path.read_text())
  held = []
  for i in range(2):
    lists = json.loads((workdir / f'fold{i}' / 'splits.json').read_text())
    assert set(lists['train']) == set(TRAIN) - set(lists['val'])
    assert not set(lists['test']) & {*lists['train'], *lists['val']}
    assert not (workdir / f'fold{i}' / 'evaluation' / 'test.json').exists()
    held += lists['val']
  assert sorted(held) == list(TRAIN)

  each = [
    json.loads((workdir / f'fold{i}' / 'evaluation' / 'val.json').read_text())
    for i in range(2)
  ]
  assert [x['num_images'] for x in report['folds']] == [4, 3]
  assert {x['checkpoint_step'] for x in each} == {2}  # The last weights.
  for name in ('background', 'a', 'b'):
    summed = {
      key: sum(x['confusion'][name][key] for x in each)
      for key in ('tp', 'fp', 'fn', 'tn')
    }
    assert report['confusion'][name] == summed
    assert sum(summed.values()) == 7 * 40 * 48
    f1 = 2 * summed['tp'] / (2 * summed['tp'] + summed['fp'] + summed['fn'])
    assert report['pooled']['per_class'][name]['f1'] == pytest.approx(f1)
  scores = [x['pooled']['macro']['f1'] for x in each]
  assert report['mean']['macro_f1'] == pytest.approx(np.mean(scores))
  assert report['std']['macro_f1'] == pytest.approx(np.std(scores, ddof=1))

  # A second call trains only the missing fold, and gives the same report.
  shutil.rmtree(workdir / 'fold1')
  shutil.rmtree(workdir / 'evaluation')
  before = (workdir / 'fold0' / 'metrics.jsonl').stat().st_mtime_ns
  capsys.readouterr()
  folds.cross_validate(config, workdir, 2)
  output = capsys.readouterr().out
  assert f'{workdir}/fold0 is finished, at step 2' in output
  assert f'{workdir}/fold1 is finished' not in output
  assert (workdir / 'fold0' / 'metrics.jsonl').stat().st_mtime_ns == before
  assert path.read_text() == text


def test_folds_in_the_folder_of_a_run_are_refused(config, tmp_path):
  config_lib.save(config, tmp_path / 'config.json')
  with pytest.raises(errors.InputError, match='a run of its own'):
    folds.cross_validate(config, tmp_path, 3)


def test_a_fold_alone_is_refused(config, tmp_path):
  with pytest.raises(errors.InputError, match='to 2 or more'):
    folds.cross_validate(config, tmp_path, 1)


def test_a_fold_has_the_thresholds_of_the_others(load_config, tmp_path):
  """Its score at them is that of a search over the other folds' pixels."""
  classes = labels.ClassSpec(('a',), 1, exclusive=False)
  rng = np.random.default_rng(0)
  folders, pixels = [], []
  for i in range(3):
    truth = rng.random((20, 30)) < 0.2
    logits = rng.normal(4 * truth - 2 - i, 1).astype(np.float32)
    example = dict(name=str(i), label=truth.astype(np.uint8))
    record = measuring.measure(
      [(example, logits[..., None])], classes, step=i + 1, with_shapes=False
    )
    folders.append(tmp_path / f'fold{i}')
    records.write(record, folders[-1] / 'evaluation' / 'val.npz')
    pixels.append((truth.ravel(), logits.ravel()))
  report = folds.at_thresholds(folders, classes)

  truth, pred = [], []
  for i, folder in enumerate(folders):
    others = [pixels[j] for j in range(3) if j != i]
    wanted, values = (np.concatenate(x) for x in zip(*others, strict=True))
    path = thresholds.path(folder)
    saved = thresholds.find(path, [f'step {i + 1}'], classes, '')
    (cut,) = thresholds.logits(saved)
    best = max(f1_at(wanted, values, edge) for edge in curves.EDGES)
    assert metrics.f1_score(wanted, values >= cut) == pytest.approx(best)
    truth.append(pixels[i][0])
    pred.append(pixels[i][1] >= cut)
  f1 = metrics.f1_score(np.concatenate(truth), np.concatenate(pred))
  row = report['at thresholds']['per_class']['a']
  assert row['f1'] == pytest.approx(f1)
  assert row['support'] == np.concatenate(truth).sum()
  names = ['fold0 step 1', 'fold1 step 2', 'fold2 step 3']
  path = tmp_path / 'evaluation/thresholds_ensemble.json'
  assert thresholds.find(path, names, classes, '')
