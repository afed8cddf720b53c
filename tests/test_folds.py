"""Cross-validation: every image is scored once, by a run not trained on it."""

import json
import shutil

import numpy as np
import pytest

from unet_jax import config as config_lib
from unet_jax import errors
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
