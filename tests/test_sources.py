"""Splits of a data set, checked and counted, from folders and from TFDS."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from settings import set_data

from unet_jax import errors
from unet_jax.data import sources, spec, stats
from unet_jax.data.synthetic_fundus import embedded, photograph


class TinyShapes(tfds.core.GeneratorBasedBuilder):
  """A typical TFDS data set: an image, and one mask of indices."""

  VERSION = tfds.core.Version('1.0.0')
  url_infos = {}

  def _info(self):
    mask = tfds.features.LabeledImage(
      labels=['background', 'disc', 'ring'], shape=(None, None, 1)
    )
    features = {
      'image': tfds.features.Image(shape=(None, None, 1)),
      'file_name': tfds.features.Text(),
      'segmentation_mask': mask,
    }
    return tfds.core.DatasetInfo(
      builder=self, features=tfds.features.FeaturesDict(features)
    )

  def _split_generators(self, dl_manager):
    del dl_manager
    return {
      'train': self._generate_examples(4),
      'validation': self._generate_examples(2),
    }

  def _generate_examples(self, count):
    for i in range(count):
      yield (
        i,
        {
          'image': encode(np.full((9 + i, 7), 20 * i, np.uint8)),
          'file_name': f'shape{i}',
          'segmentation_mask': encode(np.full((9 + i, 7), i % 3, np.uint8)),
        },
      )


def encode(array):
  buffer = io.BytesIO()
  Image.fromarray(array).save(buffer, 'PNG')
  return buffer.getvalue()


@pytest.fixture
def load(load_config):
  """Returns (config's name, settings of the data) -> config and Dataset."""

  def load_with(config_name, /, **data):
    config = load_config(config_name)
    set_data(config, **data)
    wanted = spec.read(config)
    return sources.load(wanted, sources.open_layout(wanted))

  return load_with


@pytest.fixture
def load_tfds(load, tmp_path):
  def load_with(name='tiny_shapes', mask='index', **data):
    data |= dict(source='tfds', name=name, root=str(tmp_path), mask=mask)
    return load('multiclass:folder', **data)

  return load_with


def read_png(path):
  with Image.open(path) as image:
    return np.asarray(image)


def test_example_is_the_files_image_and_label(write_folder, load):
  root = write_folder(mask='index', train='cab', val='d')
  dataset = load('multiclass:folder', root=str(root), classes=('x', 'y'))
  assert dataset.classes == ('x', 'y')
  assert dataset.root == str(root)
  assert list(dataset.splits) == ['train', 'val']
  assert [e['name'] for e in dataset.splits['train']] == ['c', 'a', 'b']
  example = dataset.splits['val'][0]
  assert example['image'].dtype == example['label'].dtype == np.uint8
  for folder, key in (('images', 'image'), ('masks', 'label')):
    np.testing.assert_array_equal(
      example[key], read_png(root / folder / 'd.png')
    )


def test_mean_and_std_are_those_of_the_training_pixels(write_folder, load):
  root = write_folder(train='abc', val='d')
  dataset = load('binary:folder', root=str(root))
  images = np.stack([read_png(root / 'images' / f'{n}.png') for n in 'abc'])
  np.testing.assert_allclose(
    dataset.stats.mean, images.mean((0, 1, 2)), rtol=1e-12
  )
  np.testing.assert_allclose(
    dataset.stats.std, images.std((0, 1, 2)), rtol=1e-9
  )


def test_constant_images_get_a_std_of_1(write_folder, load):
  root = write_folder('ab', train='ab')
  for name in 'ab':
    Image.new('L', (48, 40), 7).save(root / 'images' / f'{name}.png')
  dataset = load('binary:folder', root=str(root))
  assert (dataset.stats.mean, dataset.stats.std) == ((7.0,), (1.0,))


@pytest.mark.parametrize(
  ('lists', 'share', 'sizes', 'notes'),
  [
    (
      {},
      -1.0,
      {'train': 4, 'val': 1},
      ('val is 1 of 5 images', 'final evaluation is on val'),
    ),
    (
      {},
      0.0,
      {'train': 5},
      ('"best" is the latest', 'on train, whose scores say nothing about new'),
    ),
    (
      {},
      0.4,
      {'train': 3, 'val': 2},
      ('val is 2 of 5 images', 'final evaluation is on val'),
    ),
    (
      {'train': 'abc'},
      -1.0,
      {'train': 3},
      ('"best" is the latest', 'on train, whose scores say nothing about new'),
    ),
    (
      {'train': 'abc', 'test': 'de'},
      0.3,
      {'train': 2, 'val': 1, 'test': 2},
      ('val is 1 of 3 images',),
    ),
    (
      {'train': 'abc', 'test': 'de'},
      -1.0,
      {'train': 3, 'test': 2},
      ('--config.data.split.val_share=0.2',),
    ),
    (
      {'train': 'ab', 'val': 'c', 'test': 'de'},
      0.5,
      {'train': 2, 'val': 1, 'test': 2},
      (),
    ),
  ],
)
def test_missing_splits_are_drawn_or_reported(
  write_folder, load, lists, share, sizes, notes
):
  root = write_folder('abcde', **lists)
  dataset = load('binary:folder', root=str(root), val_share=share)
  assert {k: len(v) for k, v in dataset.splits.items()} == sizes
  names = [e['name'] for split in dataset.splits.values() for e in split]
  assert len(set(names)) == sum(sizes.values())
  assert len(dataset.notes) == len(notes)
  for note, text in zip(dataset.notes, notes, strict=True):
    assert text in note


def test_val_of_few_patients_is_one_of_them(write_folder, load):
  names = [f'p{patient}_{i}' for patient in range(3) for i in range(4)]
  root = write_folder(names)
  for name in names[4:]:  # Only the first patient has foreground.
    Image.new('L', (48, 40)).save(root / 'masks' / f'{name}.png')
  dataset = load('binary:folder', root=str(root), group=r'(p\d)_')
  train, val = (
    {name[:2] for name in dataset.splits[x].keys} for x in ('train', 'val')
  )
  assert len(val) == 1
  assert train == {'p0', 'p1', 'p2'} - val
  assert (
    'val is 4 of 12 images, the nearest to 2 that whole groups make, drawn by '
    'seed and stratified by class, 3 groups kept whole'
  ) in dataset.notes
  lacking = 'no pixel of the val split is foreground: there is no score for it'
  assert any(note.startswith(lacking) for note in dataset.notes)


def test_one_image_is_refused_with_the_way_to_train_on_it(write_folder, load):
  root = str(write_folder('a'))
  with pytest.raises(
    errors.InputError, match=r'--config.data.split.val_share=0'
  ):
    load('binary:folder', root=root)
  dataset = load('binary:folder', root=root, val_share=0.0)
  assert list(dataset.splits) == ['train']


def test_overlap_is_counted_over_all_splits(write_folder, load):
  root = write_folder(mask='folders', train='ab', val='c', test='d')
  dataset = load(
    'multiclass:folder', root=str(root), mask='folders', classes=()
  )
  overlap = sum(
    np.count_nonzero(
      np.all([read_png(root / 'GT' / f / f'{n}.png') for f in 'ab'], axis=0)
    )
    for n in 'abcd'
  )
  assert overlap > 0
  (note,) = dataset.notes
  assert f'{overlap} of {4 * 40 * 48} pixels' in note
  assert 'the later of a, b wins' in note


def test_pixels_of_each_plane_are_counted_in_train(write_folder, load):
  root = write_folder('abc', mask='index', size=(2, 3), train='ab', val='c')
  first = np.array([[0, 0, 1], [255, 1, 1]], np.uint8)
  second = np.array([[0, 0, 0], [0, 2, 2]], np.uint8)
  for name, mask in zip('abc', (first, second, first), strict=True):
    Image.fromarray(mask).save(root / 'masks' / f'{name}.png')
  data = dict(root=str(root), classes=('x', 'y'))
  by_class = load('multiclass:folder', **data).stats.pixels
  assert by_class == ((6, 11, 11), (3, 5, 11), (2, 6, 11))


def test_resize_scales_image_and_label_alike(write_folder, load):
  root = write_folder(mask='index', train='abcd')
  dataset = load(
    'multiclass:folder', root=str(root), classes=('x', 'y'), resize=24
  )
  example = dataset.splits['train'][0]
  assert example['image'].shape == (20, 24, 3)
  label = read_png(root / 'masks' / 'a.png')  # Squares of even sizes.
  np.testing.assert_array_equal(example['label'], label[1::2, 1::2])


def test_large_set_is_decoded_again_and_is_the_same(
  write_folder, load, monkeypatch
):
  root = str(write_folder(train='abc', val='d'))
  small = load('binary:folder', root=root)
  assert len(small.splits['train'].kept) == 4
  monkeypatch.setattr(stats, 'IN_MEMORY', 10_000)  # One image of four.
  large = load('binary:folder', root=root)
  assert list(large.splits['train'].kept) == ['a']
  assert large.stats == small.stats
  assert len(large.splits['train']) == 3
  for i in range(3):
    for key in ('image', 'label'):
      np.testing.assert_array_equal(
        large.splits['train'][i][key], small.splits['train'][i][key]
      )


def test_open_split_gives_what_load_gives(write_folder, load_config):
  config = load_config(
    'binary:folder', **{'data.root': str(write_folder('abcdefgh'))}
  )
  wanted = spec.read(config)
  dataset = sources.load(wanted, sources.open_layout(wanted))
  saved = {name: part.keys for name, part in dataset.splits.items()}
  val = sources.open_split(spec.read(config), 'val', saved)
  assert [e['name'] for e in val] == [e['name'] for e in dataset.splits['val']]
  message = '--split test: the data has no such split, only train, val'
  with pytest.raises(errors.InputError, match=message):
    sources.open_split(spec.read(config), 'test', saved)
  set_data(config, val_share=0.0)
  assert len(sources.open_split(spec.read(config), 'train', saved)) == 8


@pytest.mark.parametrize(
  ('task', 'mask', 'classes', 'message'),
  [
    ('binary', 'folders', (), r'classes are: a, b.*allows one'),
    ('multiclass', 'binary', ('a', 'b'), r'classes are: a, b.*allows one'),
    ('multiclass', 'index', ('a', 'a'), r'classes are: a, a.*different names'),
    ('multiclass', 'index', ('background', 'a'), r'none of them background'),
  ],
)
def test_ambiguous_classes_are_refused(
  write_folder, load_config, task, mask, classes, message
):
  config = load_config('binary:folder', task=task)
  root = write_folder(mask='folders' if mask == 'folders' else 'index')
  set_data(config, root=str(root), mask=mask, classes=classes)
  with pytest.raises(errors.InputError, match=message):
    sources.open_layout(spec.read(config))


def test_folds_keep_groups_together_and_leave_test_alone(write_folder, load):
  names = [f'p{i}{eye}' for i in range(5) for eye in 'lr']
  root = str(
    write_folder(names, train=names[2:8], val=names[:2], test=names[8:])
  )
  data = dict(root=root, folds=2, group='(p.)')
  halves = [load('binary:folder', fold=fold, **data) for fold in (0, 1)]
  for dataset, other in zip(halves, halves[::-1], strict=True):
    assert sorted(map(len, dataset.folds)) == [4, 4]
    assert dataset.folds == other.folds
    assert dataset.splits['val'].keys == other.splits['train'].keys
    assert dataset.splits['test'].keys == names[8:]
    patients = {name[:2] for name in dataset.splits['val'].keys}
    assert len(patients) == 2
    assert '4 groups kept whole' in dataset.notes[0]


def test_drawn_splits_are_kept_and_missing_images_refused(
  write_folder, load_config
):
  config = load_config(
    'binary:folder', **{'data.root': str(write_folder('abcdef'))}
  )
  opened = sources.open_layout(spec.read(config))
  saved = {'train': ['b', 'c', 'd', 'e', 'f'], 'val': ['a']}
  for val in 'ab':
    rest = [name for name in 'abcdef' if name != val]
    dataset = sources.load(
      spec.read(config), opened, {'train': rest, 'val': [val]}
    )
    assert dataset.splits['val'].keys == [val]
  for changed, message in [
    ({'train': ['b', 'c', 'd', 'e']}, 'image f is new'),
    ({'val': ['z', 'a']}, 'image z is no longer there'),
  ]:
    with pytest.raises(errors.InputError, match=message):
      sources.load(spec.read(config), opened, saved | changed)
    with pytest.raises(errors.InputError, match=message):
      sources.open_split(spec.read(config), 'val', saved | changed)


def test_embedded_set_is_what_is_drawn_with_its_lesions_merged(
  load_config, fundus_root
):
  config = load_config('multiclass', **{'data.root': fundus_root})
  assert sources.open_layout(spec.read(config)).root == fundus_root
  split = sources.open_split(spec.read(config), 'val', {})
  assert len(split) == embedded.NUM_IMAGES['val']
  for i in (0, 3):
    image, masks = photograph.draw_fundus(embedded.make_rng('val', i))
    red = masks['hemorrhages'] | masks['redsmalldots']
    bright = masks['hardexudates'] | masks['softexudates']
    np.testing.assert_array_equal(split[i]['image'], image)
    label = np.where(bright, 2, np.where(red, 1, 0))
    np.testing.assert_array_equal(split[i]['label'], label)
    assert split[i]['overlap'] == np.count_nonzero(red & bright)


def test_embedded_set_has_vessels_for_a_binary_model(load_config, fundus_root):
  config = load_config('binary', **{'data.root': fundus_root})
  _, masks = photograph.draw_fundus(embedded.make_rng('test', 0))
  example = sources.open_split(spec.read(config), 'test', {})[0]
  np.testing.assert_array_equal(example['label'], masks['vessels'])


def test_embedded_set_lies_in_the_users_cache_by_default(
  load_config, monkeypatch, fundus_root, tmp_path
):
  (tmp_path / 'unet_jax').symlink_to(fundus_root)
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  opened = sources.open_layout(spec.read(load_config('multiclass')))
  assert opened.root == str(tmp_path / 'unet_jax')


def test_root_that_can_hold_no_data_set_is_named(load_config, tmp_path):
  file = tmp_path / 'file'
  file.touch()
  config = load_config('multiclass', **{'data.root': str(file)})
  with pytest.raises(errors.InputError, match='file .*--config.data.root'):
    sources.open_layout(spec.read(config))


@pytest.mark.parametrize(
  ('task', 'pixels'),
  [
    ('multiclass', ((147, 147, 294), (70, 70, 294), (77, 77, 294))),
    ('multilabel', ((70, 70, 294), (77, 77, 294))),
  ],
)
def test_pixels_are_counted_for_every_task(load_config, tmp_path, task, pixels):
  config = load_config('multiclass:folder', task=task)
  with config.unlocked():
    config.data.update(source='tfds', name='tiny_shapes', root=str(tmp_path))
  wanted = spec.read(config)
  dataset = sources.load(wanted, sources.open_layout(wanted))
  # Images of 9, 10, 11 and 12 rows of 7, all 0, 1, 2 and 0.
  assert dataset.stats.pixels == pixels


def test_any_tfds_set_with_one_mask_is_read(load_tfds):
  dataset = load_tfds()
  assert dataset.classes == ('disc', 'ring')
  assert {k: len(v) for k, v in dataset.splits.items()} == {
    'train': 4,
    'val': 2,
  }
  examples = {e['name']: e for e in dataset.splits['train']}
  assert sorted(examples) == [f'shape{i}' for i in range(4)]
  for i in range(4):
    example = examples[f'shape{i}']
    np.testing.assert_array_equal(
      example['image'], np.full((9 + i, 7, 1), 20 * i)
    )
    np.testing.assert_array_equal(example['label'], np.full((9 + i, 7), i % 3))


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    (dict(name='no_such_set'), 'no_such_set'),
    (dict(name=''), 'config.data.name is empty'),
    (
      dict(mask='folders', classes=('disc',)),
      r'no mask disc \(it has: segmentation_mask\)',
    ),
    (dict(classes=('disc',)), 'mask value 2 in 77 pixels'),
    (dict(mask='planes'), 'config.data.masks.kind=planes reads a folder'),
    (dict(train='a-b'), 'config.data.split.train names images of a folder'),
    (dict(fov='fov'), 'config.data.fov names the folder fov'),
    (dict(weights='maps'), 'config.data.weights names the folder maps'),
  ],
)
def test_tfds_set_that_does_not_fit_is_reported(load_tfds, settings, message):
  with pytest.raises(errors.InputError, match=message):
    load_tfds(**settings)
