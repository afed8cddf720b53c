"""Every layout of images and masks, from files to labels and a first step."""

import functools
import json

import jax
import numpy as np
import pytest
from commands import call
from PIL import Image
from settings import set_data

import unet_jax
from unet_jax import config as config_lib
from unet_jax import parallel
from unet_jax.data import pipeline, sources, spec
from unet_jax.training import setup

SIZE = 32
PALETTE = [0, 0, 0, 200, 30, 30, 30, 200, 30]
COLORS = {0: '#000000', 1: '#c81e1e', 2: '#1ec81e', 255: '#010203'}
NAMES = {'background': (0,), 'a': (1,), 'b': (2,)}
BY_COLOR = {name: (COLORS[value],) for name, (value,) in NAMES.items()}


def draw(i, channels=3):
  """Draws image i, and its label of 0, 1, 2 and void in a corner."""
  rng = np.random.default_rng(i)
  image = rng.integers(0, 256, (SIZE, SIZE, channels), np.uint8)
  label = rng.integers(0, 3, (4, 4), np.uint8).repeat(8, 0).repeat(8, 1)
  label[8:16, :24] = np.repeat(np.uint8([0, 1, 2]), 8)  # Every class occurs.
  label[:3, :5] = 255
  return image, label


def overlapping(label):
  """Makes planes of a label: the second class spreads over the first."""
  a, b = label == 1, label == 2
  return a, b | np.roll(b & ~a, 2, axis=1)


def save(path, array, **options):
  path.parent.mkdir(parents=True, exist_ok=True)
  if path.suffix == '.npy':
    np.save(path, array)
  else:
    Image.fromarray(array.squeeze()).save(path, **options)


def save_palette(path, index):
  path.parent.mkdir(parents=True, exist_ok=True)
  picture = Image.fromarray(index)
  picture.putpalette([*PALETTE, *[0] * (3 * 252), 1, 2, 3])
  picture.save(path)


def to_color(label):
  picture = np.zeros((*label.shape, 3), np.uint8)
  for value, color in COLORS.items():
    picture[label == value] = tuple(bytes.fromhex(color[1:]))
  return picture


# Each writes the mask of an example and returns the expected label.


def write_binary(root, name, label):
  save(root / f'masks/{name}.png', 255 * (label == 1).astype(np.uint8))
  return (label == 1).astype(np.uint8)


def write_index(root, name, label):
  save(root / f'masks/{name}.png', label)
  return label


def write_deep_index(root, name, label):
  save(root / f'masks/{name}.tif', label.astype(np.uint16))
  return label


def write_palette(root, name, label):
  save_palette(root / f'masks/{name}.png', label)
  return label


def write_street(root, name, label):
  save(root / f'masks/{name}_L.png', np.where(label == 255, 11, label))
  return label


def write_color(root, name, label):
  save(root / f'masks/{name}.png', to_color(label))
  return label


def write_folders(root, name, label):
  a, b = overlapping(label)
  save(root / f'GT/a/{name}_A.tif', 255 * a.astype(np.uint8))
  if name != 'im0':  # Missing, so absent.
    save(root / f'GT/b/{name}_B.tif', 255 * b.astype(np.uint8))
  b = b & (name != 'im0')
  return np.where(b, 2, np.where(a, 1, 0)).astype(np.uint8)


def write_grades(root, name, label):
  a, b = overlapping(label)
  for folder, plane in (('a', a), ('b', b)):
    grades = np.where(plane, np.uint8(84), np.uint8(21))
    grades[20:] *= 3
    save(root / f'GT/{folder}/{name}.png', grades)
  save(root / f'GT/unsure/{name}.png', np.uint8(255) * (label == 255))
  planes = np.stack([a, b], axis=-1)
  planes[20:] |= True
  planes = planes.astype(np.uint8)
  planes[label == 255] = 255
  return planes


def write_agreement(root, name, label):
  hard = write_grades(root, name, label)
  a, b = overlapping(label)
  soft = np.where(np.stack([a, b], axis=-1), 84, 21)
  soft[20:] *= 3
  soft = np.round(soft * 254 / 252)
  return np.where(hard == 255, 255, soft).astype(np.uint8)


def write_planes(root, name, label):
  known = np.where(label == 255, 0, label)
  save(root / f'masks/{name}.npy', known[..., None] == np.arange(3))
  return known


def write_floats(root, name, label):
  a, b = overlapping(label)
  planes = np.stack([a, b], axis=-1) * np.float32(0.75)
  save(root / f'masks/{name}.npy', planes)
  return (planes > 0).astype(np.uint8)


def write_view(root, name, label):
  inside = np.add.outer(np.arange(SIZE), np.arange(SIZE)) > 20
  save(root / f'fov/{name}.png', np.uint8(255) * inside)
  label = write_binary(root, name, label)
  return np.where(inside, label, 255).astype(np.uint8)


LAYOUTS = {
  'binary': (write_binary, dict(task='binary', mask='binary')),
  'field of view': (write_view, dict(task='binary', mask='binary', fov='fov')),
  'index': (write_index, dict(mask='index')),
  '16-bit index': (write_deep_index, dict(mask='index')),
  'palette': (write_palette, dict(mask='index')),
  'no background': (
    write_street,
    dict(mask='index', classes='xyz', background='', void=(11,)),
  ),
  'color': (
    write_color,
    dict(mask='color', merge=BY_COLOR, void=(COLORS[255],)),
  ),
  'palette as color': (
    write_palette,
    dict(mask='color', merge=BY_COLOR, void=(COLORS[255],)),
  ),
  'folders': (write_folders, dict(mask='folders', missing='absent')),
  'grades': (
    write_grades,
    dict(task='multilabel', mask='folders', threshold=63, void=('unsure',)),
  ),
  'agreement': (
    write_agreement,
    dict(task='multilabel', mask='folders', soft=252, void=('unsure',)),
  ),
  'planes': (write_planes, dict(mask='planes')),
  'floats': (write_floats, dict(task='multilabel', mask='planes')),
}


def load(load_config, root, task='multiclass', classes='ab', **data):
  config = load_config('multiclass:tiny', task=task)
  classes = tuple(classes[:1] if task == 'binary' else classes)
  with config.unlocked():
    set_data(config, source='folder', root=str(root), classes=classes)
    set_data(config, **{'merge': {}} | data)
    config.model.depth = 1
  config_lib.check(config)
  wanted = spec.read(config)
  return config, sources.load(wanted, sources.open_layout(wanted))


@pytest.fixture(scope='module')
def train_steps():
  """Returns config, Dataset -> a run, built once per meaning of planes."""
  runs = {}

  def make(config, dataset):
    key = (config.task, config.data.background, config.data.masks.soft > 0)
    if key not in runs:
      runs[key] = setup.make_run(config, dataset.stats)
    return runs[key]

  return make


@pytest.mark.parametrize('kind', LAYOUTS)
def test_a_layout_gives_its_labels_and_trains(
  load_config, tmp_path, train_steps, kind
):
  write, data = LAYOUTS[kind]
  expected = {}
  for i in range(4):
    image, label = draw(i)
    save(tmp_path / f'images/im{i}.png', image)
    expected[f'im{i}'] = image, write(tmp_path, f'im{i}', label)
  (tmp_path / 'train.txt').write_text('im0\nim1\nim2\nim3\n')
  config, dataset = load(load_config, tmp_path, **data)
  for example in dataset.splits['train']:
    image, label = expected[example['name']]
    assert example['label'].dtype == np.uint8
    np.testing.assert_array_equal(example['image'], image)
    np.testing.assert_array_equal(example['label'], label)
  batches = pipeline.train_batches(
    dataset.splits['train'],
    pipeline.Sampling(image_size=SIZE, window_size=SIZE, seed=0),
    batch_size=4,
  )
  run = train_steps(config, dataset)
  state = parallel.replicate(run.init())
  _, metrics = run.train_step(state, parallel.place_batch(next(batches)))
  assert np.isfinite(jax.device_get(metrics['loss']))


def write_deep(path, image):
  save(path.with_suffix('.tif'), image[..., 0].astype(np.uint16) * 257)


def write_opaque(path, image):
  opaque = np.full((SIZE, SIZE, 1), 255, np.uint8)
  save(path, np.concatenate([image, opaque], axis=-1))


@pytest.mark.parametrize(
  ('channels', 'write'),
  [(1, save), (3, save), (3, write_opaque), (1, write_deep)],
)
def test_images_of_every_kind_are_read_as_they_are(
  load_config, tmp_path, channels, write
):
  for i in range(2):
    image, label = draw(i, channels)
    write(tmp_path / f'images/im{i}.png', image)
    write_index(tmp_path, f'im{i}', label)
  (tmp_path / 'train.txt').write_text('im1\nim0\n')
  _, dataset = load(load_config, tmp_path, mask='index')
  scale = 257 if write == write_deep else 1
  np.testing.assert_array_equal(
    dataset.splits['train'][0]['image'],
    draw(1, channels)[0].astype(int) * scale,
  )


def test_the_effect_of_a_threshold_is_reported(load_config, tmp_path):
  for i in range(2):
    save(tmp_path / f'images/im{i}.png', draw(i)[0])
    write_grades(tmp_path, f'im{i}', draw(i)[1])
  (tmp_path / 'train.txt').write_text('im1\nim0\n')
  read = functools.partial(load, load_config, tmp_path, **LAYOUTS['grades'][1])
  masks = [np.array(Image.open(p)) for p in (tmp_path / 'GT/a').glob('*')]
  share = 100 * np.mean(np.stack(masks) >= 63)  # All are above 0.
  note = f'a: {share:.1f} % of the marked pixels reach '
  note += 'config.data.masks.threshold=63'
  assert any(text.startswith(note) for text in read()[1].notes)
  _, soft = load(load_config, tmp_path, **LAYOUTS['agreement'][1])
  assert any('252 in a mask means 1' in text for text in soft.notes)
  assert not any('marked' in text for text in soft.notes)


def test_overlapping_classes_go_from_files_to_scores_and_masks(tmp_path):
  root, workdir = tmp_path / 'data', tmp_path / 'run'
  for i in range(8):
    image, label = draw(i)
    save(root / f'images/im{i}.png', image)
    for name, plane in zip('ab', overlapping(label), strict=True):
      save(root / f'GT/{name}/im{i}.png', np.uint8(255) * plane)
  call(
    *('main', '--config', 'configs/multilabel.py:tiny', '--workdir', workdir),
    *(f'--config.data.root={root}', '--config.data.source=folder'),
    *("--config.data.classes=('a', 'b')", '--config.data.split.train=im0-im5'),
    *('--config.data.split.test=im6-im7', '--config.data.split.val_share=0.3'),
    *('--config.image_size=32', '--config.model.depth=1'),
  )
  done = call('evaluate', '--workdir', workdir, '--split', 'val')
  assert 'val split, 2 images' in done.stdout
  report = json.loads((workdir / 'evaluation/test.json').read_text())
  planes = [overlapping(draw(i)[1]) for i in (6, 7)]
  for k, name in enumerate('ab'):
    counts = report['confusion'][name]
    support = sum(np.count_nonzero(both[k]) for both in planes)
    assert counts['tp'] + counts['fn'] == support
    assert sum(counts.values()) == 2 * SIZE**2
  call(
    *('predict', '--workdir', workdir, '--output', tmp_path / 'out'),
    *('--input', root / 'images/im7.png'),
  )
  assert {path.name for path in (tmp_path / 'out').iterdir()} == {
    *('im7_a.png', 'im7_b.png', 'im7_overlay.png', 'predictions.csv')
  }
  run = unet_jax.load(workdir)
  path = root / 'images/im7.png'
  mask, probs = run(path), run.probabilities(path)
  assert run.classes == ('a', 'b')
  assert (mask.dtype, probs.dtype) == (bool, np.float32)
  assert mask.shape == probs.shape == (SIZE, SIZE, 2)
  np.testing.assert_array_equal(mask, probs > 0.5)
