import hashlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unet_jax import checkpoint, checksums, errors, parallel

META = {'classes': ['a'], 'mean': [1.0]}


def tree(value):
  return {'averaged': {'x': np.full((3,), value, np.float32)}}


def saved(workdir, scores):
  """Saves a checkpoint for each score; None is a checkpoint without a score."""
  with checkpoint.make_manager(workdir, has_scores=True) as manager:
    for step, score in enumerate(scores, start=1):
      checkpoint.save(manager, step, tree(step), META, score)
  return checkpoint.make_manager(workdir, has_scores=True)


def test_the_latest_two_and_the_best_are_kept(tmp_path):
  with saved(tmp_path, [0.1, 0.9, 0.3, None, None]) as manager:
    assert sorted(manager.all_steps()) == [2, 4, 5]
    assert checkpoint.find_step(manager, 'best') == 2
    assert checkpoint.find_step(manager, 'latest') == 5


def test_of_equal_scores_the_earlier_is_best(tmp_path):
  with saved(tmp_path, [-1.0, 0.5, 0.5, 0.5, 0.2]) as manager:
    assert checkpoint.find_step(manager, 'best') == 2


def test_without_scores_the_latest_is_best(tmp_path):
  with saved(tmp_path, [None, None]) as manager:
    assert checkpoint.find_step(manager, 'best') == 2


def test_a_checkpoint_restores_arrays_and_metadata(tmp_path):
  with saved(tmp_path, [0.5]) as manager:
    trees = checkpoint.restore(manager, 1, tree(0))
    np.testing.assert_array_equal(trees['averaged']['x'], [1, 1, 1])
    assert checkpoint.restore_meta(manager, 1) == META


def test_one_device_writes_a_whole_array(tmp_path, monkeypatch):
  x = parallel.replicate({'x': jnp.arange(8.0)})
  assert len(x['x'].sharding.device_set) == 4

  def cut(*_, **__):
    raise AssertionError('an array is cut into the shares of devices')

  with checkpoint.make_manager(tmp_path, has_scores=False) as manager:
    monkeypatch.setattr(jax.lax, 'slice_in_dim', cut)
    checkpoint.save(manager, 1, {'state': x}, META, None)
    restored = checkpoint.restore(manager, 1, {'state': x})
  np.testing.assert_array_equal(restored['state']['x'], np.arange(8))


def test_a_step_that_is_not_there_is_named_with_those_that_are(tmp_path):
  with (
    saved(tmp_path, [0.5, 0.6]) as manager,
    pytest.raises(errors.InputError, match='--checkpoint 7: .* 1, 2'),
  ):
    checkpoint.find_step(manager, '7')


def test_a_save_that_orbax_would_skip_is_an_error(tmp_path):
  with saved(tmp_path, [0.5, 0.6, 0.7]) as manager:
    assert 1 not in manager.all_steps()
    with pytest.raises(RuntimeError, match='step 1 was not saved'):
      checkpoint.save(manager, 1, tree(1), META, None)


def test_unreadable_steps_are_moved_aside_until_one_can_be_read(tmp_path):
  saved(tmp_path, [0.9, 0.5, 0.6]).close()
  for step in (2, 3):
    for path in (tmp_path / 'checkpoints' / str(step)).rglob('d/*'):
      path.write_bytes(b'\0' * path.stat().st_size)
  with checkpoint.make_manager(tmp_path, has_scores=True) as manager:
    step, trees = checkpoint.restore_latest(manager, tree(0))
    assert step == 1
    np.testing.assert_array_equal(trees['averaged']['x'], [1, 1, 1])
    assert (tmp_path / 'broken-3').is_dir()
    checkpoint.save(manager, 2, tree(2), META, 0.7)
    manager.wait_until_finished()
    assert manager.latest_step() == 2


def test_the_run_stops_if_no_checkpoint_can_be_read(tmp_path):
  saved(tmp_path, [0.9]).close()
  for path in (tmp_path / 'checkpoints/1').rglob('d/*'):
    path.write_bytes(b'\0' * path.stat().st_size)
  (tmp_path / 'broken-1').mkdir()
  with (
    checkpoint.make_manager(tmp_path, has_scores=True) as manager,
    pytest.raises(errors.InputError, match='no checkpoint of .* can be'),
  ):
    checkpoint.restore_latest(manager, tree(0))
  assert (tmp_path / 'broken-1-again').is_dir()


def steps_and_files(workdir):
  """Returns the files of the newest step of a run with two steps."""
  saved(workdir, [0.9, 0.5]).close()
  folder = workdir / 'checkpoints/2'
  files = [path for path in folder.rglob('*') if path.is_file()]
  later = [folder / name for name in checksums.LATER]
  return folder, [path for path in files if path not in later]


def test_sha256sum_accepts_a_checkpoint(tmp_path):
  folder, files = steps_and_files(tmp_path)
  lines = (folder / checksums.FILE).read_text().splitlines()
  expected = {
    str(x.relative_to(folder)): hashlib.sha256(x.read_bytes()).hexdigest()
    for x in files
    if x.name != checksums.FILE
  }
  assert dict(reversed(line.split('  ')) for line in lines) == expected


def test_a_flipped_bit_anywhere_is_found(tmp_path):
  _, files = steps_and_files(tmp_path)
  rng = np.random.default_rng(0)
  opened = checkpoint.make_manager(tmp_path, has_scores=True, read_only=True)
  with opened as manager:
    for path in files:
      content = path.read_bytes()
      place, bit = rng.integers(len(content)), rng.integers(8)
      flipped = bytearray(content)
      flipped[place] ^= 1 << bit
      path.write_bytes(flipped)
      with pytest.raises(ValueError, match='is (damaged|missing)'):
        checkpoint.restore(manager, 2, tree(0))
      path.write_bytes(content)
    checkpoint.restore(manager, 2, tree(0))


@pytest.mark.parametrize('content', [None, '', 'x\n', '\udc80'])
def test_a_step_without_its_checksums_is_not_used(tmp_path, content):
  folder, _ = steps_and_files(tmp_path)
  if content is None:
    (folder / checksums.FILE).unlink()
  else:
    (folder / checksums.FILE).write_text(content, errors='surrogateescape')
  with checkpoint.make_manager(tmp_path, has_scores=True) as manager:
    step, _ = checkpoint.restore_latest(manager, tree(0))
    assert step == 1
  assert (tmp_path / 'broken-2').is_dir()


def test_a_step_of_a_version_without_checksums_is_used_with_a_line(
  tmp_path, monkeypatch, capsys
):
  with monkeypatch.context() as old:
    old.setattr(checkpoint, '_add_checksums', lambda folder: None)
    old.setattr(checkpoint, 'SUMMED', 'classes')
    saved(tmp_path, [0.9]).close()
  meta = tmp_path / 'checkpoints/1/meta/metadata'
  meta.write_text(json.dumps(META))
  with checkpoint.make_manager(tmp_path, has_scores=True) as manager:
    assert checkpoint.restore_latest(manager, tree(0))[0] == 1
  assert capsys.readouterr().out.count('without checksums') == 1


def test_damaged_metadata_of_orbax_is_named_and_not_needed(tmp_path):
  folder, _ = steps_and_files(tmp_path)
  (folder / '_CHECKPOINT_METADATA').write_text('[1]')
  with pytest.raises(errors.InputError, match='_CHECKPOINT_METADATA in it is'):
    checkpoint.make_manager(tmp_path, has_scores=True)
  (folder / '_CHECKPOINT_METADATA').unlink()
  with checkpoint.make_manager(tmp_path, has_scores=True) as manager:
    assert checkpoint.restore_latest(manager, tree(0))[0] == 2


def test_a_damaged_score_does_not_choose_the_best(tmp_path):
  saved(tmp_path, [0.9, 0.5]).close()
  path = tmp_path / 'checkpoints/1/metrics/metrics'
  path.write_text(path.read_text().replace('0.9', '0.1'))
  opened = checkpoint.make_manager(tmp_path, has_scores=True, read_only=True)
  with (
    opened as manager,
    pytest.raises(errors.InputError, match='the score of checkpoint 1'),
  ):
    checkpoint.find_step(manager, 'best')
  with checkpoint.make_manager(tmp_path, has_scores=True) as manager:
    assert checkpoint.restore_latest(manager, tree(0))[0] == 2
    assert checkpoint.find_step(manager, 'best') == 2
  assert (tmp_path / 'broken-1').is_dir()
