"""Maps of how much each pixel counts, from their files to the loss."""

import itertools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import test_prepared
import test_step
from commands import call, rows
from PIL import Image
from settings import set_data

from unet_jax import errors, parallel
from unet_jax.data import files, labels, pipeline, sources, spec
from unet_jax.nn import augment, losses, skeleton

prepare = test_prepared.prepare


@pytest.fixture
def load(load_config):
  def run(root, weights='maps', **data):
    config = load_config('binary:folder')
    set_data(config, root=str(root), weights=weights, **data)
    wanted = spec.read(config)
    return sources.load(wanted, sources.open_layout(wanted))

  return run


def write_maps(root, names, size=(40, 48)):
  """Writes root/maps/NAME.npy, and returns them by name."""
  (root / 'maps').mkdir(exist_ok=True)
  maps = {}
  for i, name in enumerate(names):
    maps[name] = 11 * np.random.default_rng(i).random(size)
    np.save(root / 'maps' / f'{name}.npy', maps[name])
  return maps


@pytest.mark.parametrize(
  ('array', 'white'),
  [
    (np.array([[0, 255, 51]], np.uint8), 255),
    (np.array([[0, 65535, 257]], np.uint16), 65535),
    (np.array([[False, True]]), 1),
  ],
)
def test_white_is_1(tmp_path, array, white):
  Image.fromarray(array).save(tmp_path / 'a.png')
  weights = files.read_weights(tmp_path / 'a.png')
  assert weights.dtype == np.float32
  np.testing.assert_allclose(weights, array / white, rtol=1e-6)


@pytest.mark.parametrize('dtype', [np.float64, np.float16, np.uint8, bool])
def test_npy_has_the_weights_themselves(tmp_path, dtype):
  array = np.array([[0, 10, 1.5]]).astype(dtype)
  np.save(tmp_path / 'a.npy', array)
  weights = files.read_weights(tmp_path / 'a.npy')
  assert weights.dtype == np.float32
  np.testing.assert_array_equal(weights, array.astype(np.float32))


WRONG = {
  'negative': (np.array([[1.0, -2]]), r'b\.npy: weights .* these are -2 to 1'),
  'nan': (np.array([[1.0, np.nan]]), r'b\.npy: weights must be finite'),
  'infinite': (np.array([[1.0, np.inf]]), r'b\.npy: weights must be finite'),
  'all zero': (np.zeros((40, 48)), r'b\.npy: every weight is 0'),
  'planes': (np.ones((40, 48, 2)), r'b\.npy holds float64\[40, 48, 2\]'),
  'empty': (np.ones((0, 48)), r'b\.npy holds float64\[0, 48\]'),
  'text': (np.array([['a']]), r'b\.npy holds <U1\[1, 1\]'),
  'size': (np.ones((48, 40)), r'maps/b\.npy 40x48, image 48x40; transpose'),
}


@pytest.mark.parametrize('case', WRONG)
def test_map_that_cannot_be_is_reported(write_folder, load, case):
  root = write_folder()
  write_maps(root, 'abcd')
  array, message = WRONG[case]
  np.save(root / 'maps' / 'b.npy', array)
  with pytest.raises(errors.InputError, match=message):
    load(root)


def test_coloured_or_broken_file_is_reported(write_folder, load):
  root = write_folder()
  write_maps(root, 'abcd')
  (root / 'maps' / 'b.npy').unlink()
  shutil.copy(root / 'images' / 'b.png', root / 'maps' / 'b.png')
  message = r'maps/b\.png: a map of weights has one channel, this file has RGB'
  with pytest.raises(errors.InputError, match=message):
    load(root)
  (root / 'maps' / 'b.png').rename(root / 'maps' / 'b.npy')
  with pytest.raises(errors.InputError, match='not a readable .npy file'):
    load(root)


def test_two_maps_of_an_image_are_reported(write_folder, load):
  root = write_folder()
  write_maps(root, 'abcd')
  Image.new('L', (48, 40), 1).save(root / 'maps' / 'b.png')
  with pytest.raises(
    errors.InputError, match='more than one file: b.npy and b.png'
  ):
    load(root)


def test_only_training_images_need_maps(write_folder, load):
  root = write_folder(train='ab', val='c', test='d')
  maps = write_maps(root, 'ab')
  dataset = load(root)
  for example in dataset.splits['train']:
    np.testing.assert_array_equal(
      example['weight_map'], maps[example['name']].astype(np.float32)
    )
  assert 'weight_map' not in dataset.splits['val'][0]
  (root / 'maps' / 'b.npy').unlink()
  message = r'image b has no map b\.npy or \.png in config\.data\.weights=maps'
  with pytest.raises(errors.InputError, match=message):
    load(root)
  with pytest.raises(errors.InputError, match='image a has no map'):
    load(root, weights='no_such_folder')
  assert 'weight_map' not in load(root, weights='').splits['train'][0]


def test_drawn_training_images_need_maps_too(write_folder, load):
  root = write_folder('abcdef', train='abcdef')
  write_maps(root, 'abcde')
  messages = set()
  for fold in range(3):  # One of the folds has f in val.
    try:
      load(root, folds=3, fold=fold)
      messages.add('')
    except errors.InputError as error:
      messages.add(str(error).split(' has')[0])
  assert messages == {'', 'training image f'}


def test_endings_alike_are_left_out(write_folder, load):
  root = write_folder(train='abcd')
  for name in write_maps(root, 'abcd'):
    path = root / 'maps' / f'{name}.npy'
    path.rename(path.with_name(f'{name}_weights.npy'))
  assert all('weight_map' in x for x in load(root).splits['train'])


def test_the_doctor_reports_maps(write_folder, diagnose):
  root = write_folder()
  write_maps(root, 'abcd')
  texts = str(diagnose(root, weights='maps'))
  assert 'maps' not in texts
  np.save(root / 'maps' / 'b.npy', np.zeros((40, 48)))
  assert 'every weight is 0' in str(diagnose(root, weights='maps'))
  for path in (root / 'maps').iterdir():
    path.unlink()
  assert 'has no map' in str(diagnose(root, weights='maps'))


def test_maps_are_resized_with_their_images(write_folder, load):
  root = write_folder()
  maps = write_maps(root, 'abcd')
  for example in load(root, resize=24).splits['train']:
    assert example['image'].shape[:2] == (20, 24)
    halved = maps[example['name']].reshape(20, 2, 24, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(example['weight_map'], halved, rtol=1e-5)


@pytest.mark.parametrize('resize', [0, 24])
def test_prepared_maps_are_those_of_files(
  prepare, write_folder, tmp_path, resize
):
  root = write_folder('abcdef', train='abcd', val='ef')
  write_maps(root, 'abcde')
  config = prepare(
    *(root, tmp_path / 'out', 'binary:folder'), weights='maps', resize=resize
  )
  before = test_prepared.load(config)
  shutil.rmtree(root)
  prepared = test_prepared.as_prepared(config, tmp_path / 'out')
  after = test_prepared.load(prepared)
  for split in ('train', 'val'):
    pairs = zip(before.splits[split], after.splits[split], strict=True)
    for one, two in pairs:
      assert one.keys() == two.keys()
      if one['name'] != 'f':
        assert two['weight_map'].dtype == np.float32
        np.testing.assert_array_equal(one['weight_map'], two['weight_map'])
  with config.unlocked():
    config.data.weights = ''
  again = test_prepared.as_prepared(config, tmp_path / 'out')
  with pytest.raises(errors.InputError, match="weights='maps', not ''"):
    test_prepared.load(again)


RANGES = augment.Ranges(
  horizontal_flip=True,
  vertical_flip=True,
  quarter_turns=True,
  rotation_range=30.0,
  width_shift_range=0.2,
  height_shift_range=0.2,
  shear_range=10.0,
  zoom_range=(0.7, 1.3),
  elastic=0.9,
)


def test_map_stays_with_its_image_through_crop_and_augmentation():
  rng, source = np.random.default_rng(0), []
  for i, size in enumerate([(20, 30), (40, 33), (16, 16)]):
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    label = np.zeros(size, np.uint8)
    weight_map = image[..., 1].astype(np.float32) / 64
    source.append(
      dict(name=str(i), image=image, label=label, weight_map=weight_map)
    )
  batches = pipeline.train_batches(
    source,
    pipeline.Sampling(16, augment.window_size(16, RANGES), seed=0),
    batch_size=6,
  )
  change = jax.vmap(
    lambda *args: augment.augment(*args, size=16, ranges=RANGES)
  )
  for batch in itertools.islice(batches, 3):
    assert (batch['label'] == labels.VOID).any()
    green = batch['image'][..., 1] / 64
    np.testing.assert_array_equal(batch['weight_map'], green)
    rngs = augment.sample_rngs(jax.random.key(3), batch['index'])
    arrays = (batch['image'], batch['label'])
    image, label, weight_map = change(rngs, *arrays, batch['weight_map'])
    np.testing.assert_allclose(weight_map, image[..., 1] / 64, atol=1e-5)
    assert np.abs(weight_map - green[:, :16, :16]).mean() > 0.5
    for got, alone in zip((image, label), change(rngs, *arrays), strict=True):
      np.testing.assert_array_equal(got, alone)


def steps(tx, weight_map, *, num=3, mapped=False):
  """Takes steps whose batches have the map that a function makes of them."""
  axis_name = parallel.AXIS if mapped else None
  state, step = test_step.make(tx, axis_name=axis_name)
  step, place = jax.jit(step), lambda batch: batch
  if mapped:
    _, step = test_step.make(tx)
    step, place = parallel.map_step(step), parallel.place_batch
    state = parallel.replicate(state)

  def add(batch):
    more = weight_map(batch) if weight_map else {}
    return place(batch | more)

  return test_step.run(step, state, num, add)


def random_map(batch):
  rng = np.random.default_rng(int(batch['index'][0]) + 1)
  maps = rng.random((4, 16, 16), np.float32) + 9 * (batch['label'] == 1)
  return dict(weight_map=maps.astype(np.float32))


def test_four_devices_take_the_weighted_steps_of_one():
  assert jax.device_count() == 4
  tx = optax.sgd(0.1)
  alone, losses_alone = steps(tx, random_map)
  mapped, losses_mapped = steps(tx, random_map, mapped=True)
  np.testing.assert_allclose(losses_mapped, losses_alone, rtol=1e-5)
  assert test_step.largest_difference(mapped.params, alone.params) < 1e-5


def test_a_map_of_ones_is_none():
  tx = optax.sgd(0.1)
  ones = np.ones((4, 16, 16), np.float32)
  weighted, losses = steps(tx, lambda _: dict(weight_map=ones))
  without, losses_without = steps(tx, None)
  np.testing.assert_allclose(losses, losses_without, rtol=1e-6)
  assert test_step.largest_difference(weighted.params, without.params) < 1e-6


def test_where_the_map_is_0_the_label_may_as_well_be_void(monkeypatch):
  # Pixels stay where they are: a place between two has a share of both.
  monkeypatch.setattr(test_step, 'AUGMENT', lambda rng, *arrays: arrays)
  tx, where = optax.sgd(0.1), np.arange(16) % 3 == 0
  shown = np.broadcast_to(where, (4, 16, 16))
  weighted, _ = steps(tx, lambda _: dict(weight_map=shown.astype(np.float32)))
  void, _ = steps(
    tx, lambda batch: dict(label=np.where(shown, batch['label'], np.uint8(255)))
  )
  assert test_step.largest_difference(weighted.params, void.params) < 1e-6


def test_map_multiplies_what_is_not_void():
  label = jnp.array([[[0, 1], [255, 2]]], jnp.uint8)
  weight_map = jnp.array([[[0.5, 3], [7, 0]]])
  inputs = test_step.build.make_preprocess(test_step.CLASSES, (0.0,), (1.0,))(
    jnp.zeros((1, 2, 2, 1)), label, weight_map
  )
  np.testing.assert_array_equal(inputs.weight, [[[0.5, 3], [0, 0]]])


@pytest.mark.parametrize('per_image', [False, True])
def test_centre_lines_are_weighted(per_image):
  rng = np.random.default_rng(0)
  probs = rng.random((2, 12, 12, 2), np.float32)
  target = rng.integers(0, 2, probs.shape).astype(np.float32)
  weight = 1 + 9 * rng.random(probs.shape[:3], np.float32)
  lines = [
    np.asarray(skeleton.soft_skeleton(x, radius=2)) for x in (probs, target)
  ]

  def share(line, mask):  # [B, K] or [K]
    axes = (1, 2) if per_image else (0, 1, 2)
    hit = (weight[..., None] * line * mask).sum(axes)
    return (hit + 1) / ((weight[..., None] * line).sum(axes) + 1)

  precision, recall = share(lines[0], target), share(lines[1], probs)
  want = np.mean(1 - 2 * precision * recall / (precision + recall))
  got = losses.centerline_dice(
    probs, target, weight, radius=2, per_image=per_image
  )
  np.testing.assert_allclose(got, want, rtol=1e-5)


def test_run_with_maps_is_another_and_is_scored_without(write_folder, tmp_path):
  root = write_folder(train='ab', val='cd')
  write_maps(root, 'ab')
  losses = []
  for weights in ('maps', ''):
    workdir = tmp_path / f'run{weights}'
    call(
      *('main', '--config', 'configs/binary.py:folder', '--workdir', workdir),
      f'--config.data.root={root}',
      f'--config.data.weights={weights}',
      *('--config.total_steps=2', '--config.eval_every=2'),
      *('--config.batch_size=4', '--config.image_size=16'),
      *('--config.model.depth=1', '--config.model.width=4'),
    )
    losses.append([row['loss'] for row in rows(workdir) if 'loss' in row])
  shutil.rmtree(root / 'maps')
  call('evaluate', '--split=val', '--workdir', tmp_path / 'runmaps')
  assert losses[0][0] != losses[1][0]
