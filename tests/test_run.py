"""Whole runs, started as a user starts them."""

import csv
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
import tifffile
from commands import (
  ROOT,
  TINY,
  assert_same_weights,
  call,
  rows,
  run,
  start,
  weights,
  write_images,
)
from PIL import Image

from unet_jax import config as config_lib
from unet_jax.data import sources, spec
from unet_jax.evaluation import trained
from unet_jax.training import logs


def test_a_run_prints_what_it_does_and_where_its_files_are(finished):
  workdir, text = finished
  for part in (
    r'devices: 4 x cpu \(no GPU found\)',
    r'precision: (float32|bfloat16)',
    r'train 27, val 8, test 20 images',
    r'classes: background, red_lesions, bright_lesions',
    r'[\d,]+ parameters',
    r'6\.75 steps per epoch',
    r'step 2  val macro F1 ',
    r'bright_lesions +0\.\d{4}',
    rf'written to {workdir}/evaluation/test\.json',
  ):
    assert re.search(part, text), part
  assert '\x1b' not in text


def test_what_a_run_prints_is_kept_in_its_folder(finished):
  workdir, printed = finished
  kept = (workdir / 'train.log').read_text().splitlines()
  said = printed.splitlines()
  (compiling,) = [x for x in said if x.startswith('compiling')]
  assert kept == [line for line in said[:-1] if line != compiling]


def test_metrics_have_rows_of_every_split_with_flat_names(finished):
  workdir, _ = finished
  metrics = rows(workdir)
  assert [(row['split'], row['step']) for row in metrics[:-1]] == [
    *(('train', 2), ('val', 2), ('train', 4), ('val', 4))
  ]
  report = json.loads((workdir / 'evaluation' / 'test.json').read_text())
  assert metrics[-1]['split'] == 'test'
  assert metrics[-1]['step'] == report['checkpoint_step']
  assert metrics[-1]['macro_f1'] == report['pooled']['macro']['f1']
  for row in metrics:
    if row['split'] == 'train':
      assert row['loss'] > 0
      assert row['images_per_second'] > 0
      assert 0 <= row['data_wait'] < 1
      for part in ('encoder', 'bottleneck', 'decoder', 'head'):
        assert row[f'grad_norm_{part}'] > 0
        assert row[f'update_ratio_{part}'] >= 0
      assert row['loss'] == pytest.approx(
        row['dice_loss'] + row['ce_loss'], rel=1e-5
      )
    else:
      assert (row['split'] == 'val') == (row.get('loss', 0) > 0)
      assert 0 <= row['macro_f1'] <= 1
  assert list(workdir.glob('events.out.tfevents.*'))
  with (workdir / 'metrics.csv').open(newline='') as file:
    table = list(csv.DictReader(file))
  assert len(table) == len(metrics)
  for line, row in zip(table, metrics, strict=True):
    filled = {k: v for k, v in line.items() if v}
    assert filled == {k: str(v) for k, v in row.items() if v is not None}


def test_the_report_has_the_promised_shape(finished):
  workdir, _ = finished
  report = json.loads((workdir / 'evaluation' / 'test.json').read_text())
  classes = ['background', 'red_lesions', 'bright_lesions']
  assert list(report['confusion']) == classes
  for part in ('pooled', 'per_image'):
    assert list(report[part]['per_class']) == classes
    for mean in ('macro', 'micro', 'weighted'):
      assert set(report[part][mean]) >= {
        *('precision', 'recall', 'accuracy', 'iou', 'f1')
      }
  assert report['num_images'] == 20
  assert report['checkpoint_step'] in (2, 4)
  assert sum(report['confusion']['background'].values()) == 20 * 256 * 256


def small(folder):
  """Draws 12 images; returns the flags of a run on them that takes a second."""
  root = write_images(folder / 'data', 12)
  return (
    *('--config', 'configs/binary.py:tiny', '--workdir', folder / 'run'),
    *('--config.data.source=folder', f'--config.data.root={root}'),
    *('--config.image_size=32', '--config.model.depth=1'),
  )


def test_a_finished_run_says_so(finished, fundus_root):
  workdir, _ = finished
  root = f'--config.data.root={fundus_root}'
  done = call('main', *TINY, '--workdir', workdir, root)
  assert 'is finished, at step 4' in done.stdout


def contents(workdir):
  """Returns the bytes of each of a run's files."""
  return {p: p.read_bytes() for p in workdir.rglob('*') if p.is_file()}


def test_another_config_is_refused_with_the_keys_and_the_ways_out(finished):
  workdir, _ = finished
  before = contents(workdir)
  done = call(
    *('main', *TINY, '--workdir', workdir, '--config.optim.lr=0.5'),
    check=False,
  )
  last = done.stderr.strip().splitlines()[-1]
  assert done.returncode == 1
  assert 'Traceback' not in done.stderr
  for part in ('config.optim.lr: 0.002 -> 0.5', '--overwrite', '--init_from'):
    assert part in last
  assert contents(workdir) == before


def test_overwrite_removes_only_what_a_run_writes(finished, tmp_path):
  workdir = tmp_path / 'run'
  shutil.copytree(finished[0], workdir)
  (workdir / 'notes.txt').write_text('mine')
  root = json.loads((workdir / 'config.json').read_text())['data']['root']
  args = ('main', *TINY, '--workdir', workdir, f'--config.data.root={root}')
  args += ('--config.total_steps=2', '--overwrite')
  call(*args)
  assert (workdir / 'notes.txt').read_text() == 'mine'
  assert [row['step'] for row in rows(workdir)] == [2, 2, 2]
  assert len(list(workdir.glob('events.out.tfevents.*'))) == 1
  (workdir / 'config.json').unlink()
  done = call(*args, check=False)
  assert done.returncode == 1
  assert 'has no config.json' in done.stderr.splitlines()[-1]
  assert (workdir / 'metrics.jsonl').exists()


def test_evaluate_reproduces_the_scores_of_training(finished, tmp_path):
  workdir = tmp_path / 'run'
  shutil.copytree(finished[0], workdir)
  path = workdir / 'evaluation' / 'test.json'
  before = json.loads(path.read_text())
  path.unlink()
  call('evaluate', '--workdir', workdir)
  after = json.loads(path.read_text())
  assert after.keys() - before.keys() == {'outlines', 'objects'}
  assert after | before == after
  call('evaluate', '--workdir', workdir, '--split=val', '--checkpoint=latest')
  report = json.loads((workdir / 'evaluation' / 'val.json').read_text())
  logged = rows(workdir)[3]
  assert report['checkpoint_step'] == logged['step'] == 4
  assert report['pooled']['macro']['f1'] == logged['macro_f1']


def test_a_run_keeps_the_window_that_it_chose(finished):
  workdir, _ = finished
  assert config_lib.load(workdir / 'config.json').window == 256
  assert trained.load(workdir).predictor.window == 256


def test_predict_writes_masks_at_the_images_own_size(finished, tmp_path):
  workdir, _ = finished
  images = tmp_path / 'images'
  images.mkdir()
  rng = np.random.default_rng(0)
  pixels = rng.integers(0, 256, (50, 70, 3), np.uint8)
  Image.fromarray(pixels).save(images / 'a.png')
  Image.fromarray(pixels[:33, :31]).save(images / 'b.jpg')
  (images / 'c.heic').touch()
  output = tmp_path / 'out'
  done = call(
    *('predict', '--workdir', workdir, '--input', images, '--output', output)
  )
  assert done.stdout.startswith(f'1 file in {images} left out (')
  names = {path.name for path in output.iterdir()}
  assert names == {
    *('a.png', 'a_overlay.png', 'b.png', 'b_overlay.png', 'predictions.csv')
  }
  with Image.open(output / 'a.png') as image:
    assert image.mode == 'P'
    mask = np.asarray(image)
  assert mask.shape == (50, 70)
  assert set(np.unique(mask)) <= {0, 1, 2}
  table = read_table(output)
  assert [(row['image'], row['class']) for row in table] == [
    (str(images / name), lesion)
    for name in ('a.png', 'b.jpg')
    for lesion in ('red_lesions', 'bright_lesions')
  ]
  areas = [int(row['area']) for row in table[:2]]
  assert areas == [np.count_nonzero(mask == i) for i in (1, 2)]


def read_table(output):
  with (output / 'predictions.csv').open(newline='') as file:
    return list(csv.DictReader(file))


def test_predict_leaves_what_is_up_to_date_and_reports_what_it_cannot_read(
  finished, tmp_path
):
  workdir, _ = finished
  images, output = tmp_path / 'images', tmp_path / 'out'
  images.mkdir()
  pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
  for name in 'ac':
    Image.fromarray(pixels).save(images / f'{name}.png')
  (images / 'b.png').write_text('nothing')
  args = ('predict', '--workdir', workdir, '--input', images)
  args += ('--output', output)
  done = call(*args, check=False)
  assert done.returncode == 1
  (line,) = done.stderr.splitlines()
  assert re.match(r'error: .*b\.png: not a readable image', line)
  assert '2 masks and overlays' in done.stdout
  names = [pathlib.Path(row['image']).name for row in read_table(output)]
  assert names == ['a.png', 'a.png', 'c.png', 'c.png']
  (images / 'b.png').unlink()
  (output / 'c.png').unlink()
  before = (output / 'a.png').stat().st_mtime_ns
  done = call(*args)
  assert '1 masks and overlays' in done.stdout
  assert '1 were up to date' in done.stdout
  assert (output / 'a.png').stat().st_mtime_ns == before
  assert (output / 'c.png').exists()
  Image.fromarray(pixels[:20]).save(images / 'a.png')
  assert '1 were up to date' in call(*args).stdout
  with Image.open(output / 'a.png') as image:
    assert image.size == (40, 20)
  assert len(read_table(output)) == 4


def test_a_tiff_read_in_parts_is_predicted_like_a_whole_one(finished, tmp_path):
  """Its masks and probabilities are TIFFs, and the overlay is the same."""
  workdir, _ = finished
  path = tmp_path / 'x.tif'
  y, x = np.mgrid[:700, :300]
  image = np.stack([127 + 120 * np.sin(x / 9 + y / k) for k in (5, 20, 40)], -1)
  tifffile.imwrite(
    path, image.astype(np.uint8), photometric='rgb', tile=(64, 64)
  )
  args = ('predict', '--workdir', workdir, '--input', path)
  args += ('--probabilities=png', '--smallest_component=40', '--output')
  call(*args, tmp_path / 'whole')
  call(*args, tmp_path / 'parts', '--max_pixels=1000')
  names = [path.name for path in sorted((tmp_path / 'parts').iterdir())]
  assert names == [
    *('predictions.csv', 'x.tif', 'x_bright_lesions_probability.tif'),
    *('x_overlay.png', 'x_red_lesions_probability.tif'),
  ]
  for name in names[1:]:
    arrays = []
    for file in (name.replace('.tif', '.png'), name):
      folder = 'whole' if file.endswith('.png') and not arrays else 'parts'
      with Image.open(tmp_path / folder / file) as opened:
        arrays.append(np.asarray(opened))
    np.testing.assert_array_equal(*arrays)
  whole, parts = (read_table(tmp_path / x) for x in ('whole', 'parts'))
  assert whole == parts


def test_probabilities_and_outlines_agree_with_the_masks(finished, tmp_path):
  workdir, _ = finished
  y, x = np.mgrid[:90, :120]
  image = np.stack([127 + 120 * np.sin(x / 9 + y / k) for k in (5, 20, 40)], -1)
  Image.fromarray(image.astype(np.uint8)).save(tmp_path / 'x.png')
  call(
    *('predict', '--workdir', workdir, '--output', tmp_path / 'out'),
    *('--input', tmp_path / 'x.png', '--probabilities=npy', '--polygons'),
  )
  probs = np.load(tmp_path / 'out/x_probabilities.npy')
  assert (probs.dtype, probs.shape) == (np.float32, (90, 120, 3))
  np.testing.assert_allclose(probs.sum(axis=-1), 1, atol=1e-5)
  with Image.open(tmp_path / 'out/x.png') as opened:
    np.testing.assert_array_equal(opened, probs.argmax(axis=-1))
  outlines = json.loads((tmp_path / 'out/x_outlines.geojson').read_text())
  names = [x['properties']['class'] for x in outlines['features']]
  for row in read_table(tmp_path / 'out'):
    assert names.count(row['class']) == int(row['components'])


@pytest.mark.slow
def test_a_tiff_of_3000_pixels_is_predicted_in_parts(finished, tmp_path):
  workdir, _ = finished
  path = tmp_path / 'x.tif'
  image = np.random.default_rng(0).integers(0, 256, (3000, 3000, 3), np.uint8)
  tifffile.imwrite(path, image, photometric='rgb', tile=(256, 256))
  call(
    *('predict', '--workdir', workdir, '--input', path),
    *('--output', tmp_path / 'out', '--max_pixels=1000000'),
  )
  with tifffile.TiffFile(tmp_path / 'out/x.tif') as file:
    mask, tile = file.asarray(), file.pages.first.tile
  assert (mask.shape, tile) == ((3000, 3000), (256, 256))
  rows = read_table(tmp_path / 'out')
  areas = [np.count_nonzero(mask == i) for i in (1, 2)]
  assert [int(row['area']) for row in rows] == areas


def wait_for_checkpoint(process, workdir):
  deadline = time.monotonic() + 300
  while not any(p.name.isdigit() for p in workdir.glob('checkpoints/*')):
    assert process.poll() is None
    assert time.monotonic() < deadline
    time.sleep(0.02)


@pytest.mark.process
def test_killed_and_resumed_ends_as_unbroken_bit_for_bit(tmp_path):
  args = (
    *(*small(tmp_path), '--config.engine=xla', '--config.precision=float32'),
    *('--config.total_steps=40', '--config.eval_every=20'),
    '--config.save_every=5',
  )
  whole, broken = tmp_path / 'whole', tmp_path / 'broken'
  call('main', *args, '--workdir', whole)
  process = start(
    *('-m', 'unet_jax.main', *args, '--workdir', broken),
    stdout=subprocess.DEVNULL,
    env=os.environ | {'JAX_NUM_CPU_DEVICES': '4'},
  )
  wait_for_checkpoint(process, broken)
  process.send_signal(signal.SIGKILL)
  process.wait()
  # A killed run may leave rows after its checkpoint, the last one incomplete.
  with (broken / 'metrics.jsonl').open('a') as file:
    file.write('{"step": 39, "split": "train"}\n{"step": 40, "spl')
  done = call('main', *args, '--workdir', broken)
  first = int(re.search(r'resumed from step (\d+)', done.stdout).group(1))
  assert 5 <= first < 40
  assert_same_weights(broken, whole)
  assert_same_weights(broken, whole, 'best')
  same = [
    [
      {k: v for k, v in row.items() if k not in logs.TIMES}
      for row in rows(folder)
    ]
    for folder in (whole, broken)
  ]
  assert same[0] == same[1]


@pytest.mark.process
def test_a_run_holds_its_folder_and_saves_when_a_signal_ends_it(tmp_path):
  args = (
    *(*small(tmp_path), '--config.engine=xla', '--config.precision=float32'),
    *('--config.total_steps=400', '--config.eval_every=400'),
    '--config.save_every=400',
  )
  process = start(
    *('-m', 'unet_jax.main', *args),
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    env=os.environ | {'JAX_NUM_CPU_DEVICES': '4'},
  )
  while not process.stdout.readline().startswith('step '):
    assert process.poll() is None
  other = call('main', *args, '--overwrite', check=False)
  assert other.returncode == 1
  assert f'is in use by process {process.pid} on ' in other.stderr
  process.send_signal(signal.SIGTERM)
  _, stderr = process.communicate()
  assert process.returncode == 75
  (line,) = stderr.splitlines()
  match = re.fullmatch(
    r'preempted by SIGTERM: step (\d+) is saved in (\S+); the same command, '
    'without --overwrite, resumes',
    line,
  )
  assert match[2] == str(tmp_path / 'run')
  step = match[1]
  call(
    *('main', *args, '--workdir', tmp_path / 'whole'),
    *(f'--config.{key}={step}' for key in ('total_steps', 'eval_every')),
    *(f'--config.save_every={step}', '--config.optim.schedule_steps=400'),
  )
  assert_same_weights(tmp_path / 'run', tmp_path / 'whole')
  done = call('main', *args)
  assert f'resumed from step {step}' in done.stdout


def test_an_unreadable_newest_checkpoint_is_moved_aside(finished, tmp_path):
  workdir = tmp_path / 'run'
  shutil.copytree(finished[0], workdir)
  for path in (workdir / 'checkpoints' / '4').rglob('*'):
    if path.is_file() and path.parent.name == 'd':
      path.write_bytes(b'\0' * path.stat().st_size)
  shutil.rmtree(workdir / 'evaluation')
  root = json.loads((workdir / 'config.json').read_text())['data']['root']
  done = call('main', *TINY, '--workdir', workdir, f'--config.data.root={root}')
  assert 'checkpoint 4 is unreadable' in done.stdout
  assert 'resumed from step 2' in done.stdout
  assert (workdir / 'broken-4').is_dir()
  assert_same_weights(workdir, finished[0])


def test_a_vessel_run_starts_a_lesion_run(finished, tmp_path, fundus_root):
  vessels, lesions = tmp_path / 'vessels', tmp_path / 'lesions'
  root, size = f'--config.data.root={fundus_root}', '--config.image_size=32'
  call(
    *('main', '--config', 'configs/binary.py:tiny', '--workdir', vessels, root),
    *('--config.data.channels=green', '--config.total_steps=2', size),
  )
  done = call(
    *('main', *TINY, root, '--workdir', lesions, size),
    *('--init_from', vessels / 'checkpoints/2', '--config.total_steps=1'),
    *(
      '--config.transfer.batch_stats=reestimate',
      '--config.data.channels=green',
    ),
    "--config.transfer.freeze=('encoder',)",
  )
  assert f'starts from {vessels}/checkpoints/2, step 2' in done.stdout
  assert '\n  encoder, bottleneck, decoder: 54 leaves copied\n' in done.stdout
  assert re.search(r'7,487 parameters, 1,092 of them frozen', done.stdout)
  plan = (lesions / 'init_from.txt').read_text()
  lines = dict(line.split(': ') for line in plan.splitlines())
  assert lines['params/down0/conv0/kernel'] == 'copied'
  assert lines['batch_stats/bottleneck/norm1/var'] == 'copied'
  remade = {k for k, v in lines.items() if v.startswith('re-initialised (')}
  assert remade == {'params/head/kernel', 'params/head/bias'}
  # A warm start takes the averaged weights, and evaluation uses them.
  (_, before), (_, after) = weights(vessels), weights(lesions)
  before = {k: x for k, x in before.items() if k.startswith("['averaged']")}

  def same(part):
    return [np.array_equal(after[k], x) for k, x in before.items() if part in k]

  assert all(same("['params']['down"))
  # The statistics are re-estimated before step 1, also in frozen parts.
  assert not any(same("['batch_stats']['down0']['norm0']"))


def test_a_list_of_train_alone_takes_the_latest_weights(tmp_path):
  args = small(tmp_path)
  (tmp_path / 'data/train.txt').write_text('im0\nim1\nim2\nim3\n')
  done = call('main', *args)
  assert '"best" is the latest averaged weights' in done.stdout
  assert 'no test split: the final evaluation is on train' in done.stdout
  report = json.loads((tmp_path / 'run/evaluation/train.json').read_text())
  assert report['checkpoint_step'] == 4


def test_own_images_train_by_the_commands_of_the_readme(tmp_path, load_config):
  """Runs the README's section on own data, with fewer and smaller steps."""
  readme = (ROOT / 'README.md').read_text()
  section = readme.split('## Your own images')[1].split('\n## ')[0]
  lines = re.findall(r'^    unet-jax (.*)$', section, re.MULTILINE)
  assert len(lines) == 3
  write_images(tmp_path / 'my_images', 6)
  tiny = (
    '--config.total_steps=40 --config.image_size=32 --config.batch_size=4'
    ' --config.model.depth=1 --config.model.width=8 --config.eval_every=40'
  )
  for line in lines:
    name, *args = shlex.split(line)
    args += tiny.split() if name == 'train' else []
    call({'train': 'main'}.get(name, name), *args, cwd=tmp_path)
  report = json.loads(
    (tmp_path / 'runs/binary-folder/evaluation/val.json').read_text()
  )
  assert report['pooled']['macro']['f1'] > 0.8
  masks = sorted((tmp_path / 'masks').glob('im?.png'))
  assert len(masks) == 6
  # The masks that predict has written are masks to train on.
  for mask in masks:
    shutil.copy(mask, tmp_path / 'my_images/masks')
  config = load_config(
    'binary:folder', **{'data.root': str(tmp_path / 'my_images')}
  )
  data = spec.read(config)
  dataset = sources.load(data, sources.open_layout(data))
  for example in dataset.splits['train']:
    mask = np.asarray(Image.open(tmp_path / f'masks/{example["name"]}.png'))
    np.testing.assert_array_equal(mask, 255 * example['label'])


def test_predict_never_writes_over_its_input(finished, tmp_path):
  workdir, _ = finished
  path = tmp_path / 'photo.png'
  Image.fromarray(np.full((40, 40, 3), 7, np.uint8)).save(path)
  before = path.read_bytes()
  done = call(
    *('predict', '--workdir', workdir, '--input', path, '--output', tmp_path),
    check=False,
  )
  assert done.returncode == 1
  assert 'is an input' in done.stderr.splitlines()[-1]
  assert path.read_bytes() == before


def test_a_refused_overwrite_leaves_the_run_as_it_was(finished, tmp_path):
  workdir, _ = finished
  before = contents(workdir)
  done = call(
    *('main', *TINY, '--workdir', workdir, '--overwrite'),
    *('--init_from', tmp_path / 'nowhere'),
    check=False,
  )
  assert done.returncode == 1
  assert 'holds no checkpoint' in done.stderr.splitlines()[-1]
  assert contents(workdir) == before


def test_evaluating_a_live_run_leaves_its_half_written_step(finished, tmp_path):
  workdir = tmp_path / 'run'
  shutil.copytree(finished[0], workdir)
  half = workdir / 'checkpoints' / '6.orbax-checkpoint-tmp'
  half.mkdir()
  call('evaluate', '--workdir', workdir)
  assert half.is_dir()


def test_a_run_is_not_resumed_on_other_images(tmp_path):
  root, args = tmp_path / 'data', ('main', *small(tmp_path))
  call(*args)
  shutil.rmtree(tmp_path / 'run/evaluation')
  for kind in ('images', 'masks'):
    shutil.copy(root / kind / 'im0.png', root / kind / 'new.png')
  done = call(*args, check=False)
  assert done.returncode == 1
  last = done.stderr.splitlines()[-1]
  assert 'image new is new since this run drew its splits' in last
  assert '--overwrite' in last


def test_a_refused_resume_keeps_the_splits_of_the_run(tmp_path):
  root, args = tmp_path / 'data', ('main', *small(tmp_path))
  call(*args, '--config.total_steps=2')
  shutil.rmtree(tmp_path / 'run/evaluation')
  saved = (tmp_path / 'run/splits.json').read_text()
  names = sorted(path.stem for path in (root / 'images').iterdir())
  (root / 'train.txt').write_text('\n'.join(names[1:]))
  (root / 'val.txt').write_text(names[0])
  done = call(*args, '--config.total_steps=2', check=False)
  assert done.returncode == 1
  assert 'compiling' not in done.stdout
  assert (tmp_path / 'run/splits.json').read_text() == saved
  for name in ('train.txt', 'val.txt'):
    (root / name).unlink()
  done = call(*args, '--config.total_steps=2')
  # All steps are done: only the evaluation is left.
  assert 'compiling' not in done.stdout
  assert 'macro' in done.stdout


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path, fundus_root):
  done = call(
    *('main', *TINY, '--workdir', tmp_path / 'run'),
    *(f'--config.data.root={fundus_root}', '--config.model.norm=none'),
    *('--config.optim.lr=1e30', '--config.optim.warmup=0'),
    check=False,
  )
  assert done.returncode == 1
  last = done.stderr.splitlines()[-1]
  assert 'steps 2 to 4 had to be skipped: in step 2, the first layer' in last
  assert 'for every image (train' in last
  assert 'Traceback' not in done.stderr
  kept = [path.name for path in (tmp_path / 'run/checkpoints').iterdir()]
  assert kept == ['2']


def test_a_diverged_loss_ends_the_run_and_names_a_part(tmp_path):
  done = call(
    *('main', *small(tmp_path), '--config.optim.lr=1e6'),
    *('--config.total_steps=100', '--config.eval_every=100'),
    '--config.save_every=100',
    check=False,
  )
  assert done.returncode == 1
  last = done.stderr.splitlines()[-1]
  assert re.search(
    r'error: the run diverged: the loss is \S+ at step \d0, and was over 100 '
    r'times the initial loss of \d\.\d+ for \d+ steps; '
    r'the (encoder|bottleneck|decoder|head) changes most',
    last,
  )
  assert not list((tmp_path / 'run/checkpoints').iterdir())


def test_a_collapse_that_lasts_to_the_end_fails_the_run(tmp_path, fundus_root):
  args = (
    *('main', *TINY, '--workdir', tmp_path / 'run'),
    *(f'--config.data.root={fundus_root}', '--config.optim.lr=10'),
    *('--config.total_steps=80', '--config.eval_every=80'),
    *('--config.save_every=80', '--config.image_size=32'),
  )
  done = call(*args, check=False)
  assert done.returncode == 1
  last = done.stderr.splitlines()[-1]
  assert 'ended in background collapse (red_lesions, bright_lesions)' in last
  lines = done.stdout.splitlines()
  said = [x for x in lines if re.match(r'step \d+  background collapse: ', x)]
  assert len(said) == 2  # Once for each class.
  assert (tmp_path / 'run/evaluation/test.json').exists()
  assert (tmp_path / 'run/checkpoints/80').is_dir()
  again = call(*args, check=False)
  assert 'is finished, at step 80' in again.stdout
  assert again.returncode == 1
  assert again.stderr.splitlines()[-1] == last


@pytest.mark.process
def test_ctrl_c_ends_a_run_with_a_line_that_says_how_to_resume(tmp_path):
  # Background jobs of a shell, and their children, would ignore the signal.
  listen = (
    'import runpy, signal; '
    'signal.signal(signal.SIGINT, signal.default_int_handler); '
    'runpy.run_module("unet_jax.main", run_name="__main__", alter_sys=True)'
  )
  args = (
    *(*small(tmp_path), '--config.total_steps=2000'),
    *('--config.eval_every=2000', '--config.save_every=5'),
  )
  process = start(
    *('-c', listen, *args),
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
  )
  wait_for_checkpoint(process, tmp_path / 'run')
  process.send_signal(signal.SIGINT)
  _, stderr = process.communicate()
  assert process.returncode == 130
  assert 'Traceback' not in stderr
  last = stderr.splitlines()[-1]
  assert last.startswith('interrupted; the same command, without --overwrite, ')
  assert last.endswith(f'checkpoint in {tmp_path / "run"}, if there is one')
  assert (tmp_path / 'run/metrics.csv').exists()


@pytest.mark.process
def test_ctrl_c_counts_in_a_callback_that_ignores_exceptions():
  # JAX registers such a callback with the garbage collector.
  program = (
    'import gc, signal, time\n'
    'from unet_jax import command_line\n'
    'signal.signal(signal.SIGINT, signal.default_int_handler)\n'
    'def collected(phase, info):\n'
    '  gc.callbacks.remove(collected)\n'
    '  signal.raise_signal(signal.SIGINT)\n'
    'def run(args):\n'
    '  gc.callbacks.append(collected)\n'
    '  gc.collect()\n'
    '  time.sleep(600)\n'
    'command_line.run(command_line.Command(lambda args: None, run))\n'
  )
  done = run('-c', program)
  assert (done.returncode, done.stderr) == (130, 'interrupted\n')


def test_early_stopping_ends_a_run_and_stays_ended(tmp_path):
  args = (
    *('main', *small(tmp_path), '--config.early_stop=1'),
    *('--config.optim.lr=1e-12', '--config.total_steps=40'),
  )
  done = call(*args)
  assert 'stopped early: 1 evaluations without a new best' in done.stdout
  steps = sorted(
    int(path.name) for path in (tmp_path / 'run/checkpoints').iterdir()
  )
  assert steps[-1] < 40
  assert f'is finished, at step {steps[-1]}' in call(*args).stdout
  # A run killed before it wrote stopped.txt stops by its checkpoint's monitor.
  before = tmp_path / 'before'
  shutil.copytree(tmp_path / 'run', before)
  shutil.rmtree(tmp_path / 'run/evaluation')
  (tmp_path / 'run/stopped.txt').unlink()
  done = call(*args)
  assert f'resumed from step {steps[-1]}' in done.stdout
  assert 'stopped early' in done.stdout
  assert_same_weights(tmp_path / 'run', before)
  assert (tmp_path / 'run/evaluation/val.json').exists()


def test_the_images_held_back_in_training_are_those_evaluated(tmp_path):
  root, workdir = tmp_path / 'data', tmp_path / 'run'
  call(
    *('main', *small(tmp_path), '--config.data.split.folds=4'),
    '--config.data.split.fold=2',
  )
  saved = json.loads((workdir / 'splits.json').read_text())
  assert sorted(sum(saved['folds'], [])) == sorted(
    saved['train'] + saved['val']
  )
  assert saved['folds'][2] == saved['val']
  # A new draw would give other splits; the run keeps the saved ones.
  swapped = saved | {'val': saved['train'][:1], 'train': saved['train'][1:]}
  swapped['train'] += saved['val']
  (workdir / 'splits.json').write_text(json.dumps(swapped))
  done = call('evaluate', '--workdir', workdir, '--split', 'val')
  assert 'val split, 1 images' in done.stdout
  moved = root.rename(tmp_path / 'moved')
  done = call('evaluate', '--workdir', workdir, '--split=val', check=False)
  assert done.stderr == (
    f'error: config.data.root: no folder {root}; give it with --data_root\n'
  )
  call('evaluate', '--workdir', workdir, '--split=val', '--data_root', moved)
  moved.rename(root)
  (root / 'images' / f'{saved["val"][0]}.png').unlink()
  (root / 'masks' / f'{saved["val"][0]}.png').unlink()
  done = call('evaluate', '--workdir', workdir, '--split', 'val', check=False)
  assert done.returncode == 1
  last = done.stderr.splitlines()[-1]
  assert f'image {saved["val"][0]} is no longer there' in last
