"""Finds the images to predict, and checks the contents of their masks."""

import functools
import threading
from concurrent import futures

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from PIL import Image

from unet_jax import errors, parallel, peers
from unet_jax.data import labels
from unet_jax.evaluation import (
  measures,
  prediction_table,
  predictions,
  predictor,
  raster_files,
  segment,
  trained,
)

BLACK, BLUE, YELLOW = [0, 0, 0], [86, 180, 233], [240, 228, 66]
PLANES = np.eye(3, dtype=bool)[np.array([[0, 1], [2, 1]])]


def test_files_and_folders_are_found_in_order(tmp_path):
  (tmp_path / 'more').mkdir()
  for name in ('z.png', 'more/b.jpg', 'more/a.gif', 'more/readme.txt'):
    (tmp_path / name).touch()
  paths = predictions.find_images(
    [str(tmp_path / 'z.png'), str(tmp_path / 'more')]
  )
  assert [path.name for path in paths] == ['z.png', 'a.gif', 'b.jpg']


def test_missing_inputs_and_colliding_names_are_refused(tmp_path):
  with pytest.raises(errors.InputError, match=r'--input .*x\.png: no such'):
    predictions.find_images([str(tmp_path / 'x.png')])
  (tmp_path / 'x.png').touch()
  (tmp_path / 'x.jpg').touch()
  names = [str(tmp_path / 'x.png'), str(tmp_path / 'x.jpg')]
  with pytest.raises(errors.InputError, match=r'both be written as x\.png'):
    predictions.find_images(names)


def test_exclusive_mask_holds_class_indices():
  classes = labels.ClassSpec(('background', 'a', 'b'), 2, exclusive=True)
  masks = segment.masks(PLANES, classes, 1)
  assert list(masks) == ['']
  assert masks[''].dtype == np.uint8
  np.testing.assert_array_equal(masks[''], [[0, 1], [2, 1]])


def test_mask_of_one_class_holds_0_and_the_value():
  classes = labels.ClassSpec(('a',), 1, exclusive=False)
  masks = segment.masks(PLANES[..., 1:2], classes, 255)
  assert masks[''].dtype == np.uint8
  np.testing.assert_array_equal(masks[''], [[0, 255], [0, 255]])


def test_overlapping_classes_have_a_mask_each(tmp_path):
  classes = labels.ClassSpec(('a', 'b', 'c'), 3, exclusive=False)
  masks = segment.masks(PLANES, classes, 255)
  assert list(masks) == ['_a', '_b', '_c']
  named = labels.ClassSpec(('../a', 'b', 'c'), 3, exclusive=False)
  paths = segment.targets(
    tmp_path / 'x.png', tmp_path / 'out', named, segment.Options()
  )
  assert paths['_../a'] == tmp_path / 'out/x_..%2Fa.png'
  for i, mask in enumerate(masks.values()):
    np.testing.assert_array_equal(mask, np.where(PLANES[..., i], 255, 0))


@pytest.mark.parametrize(
  ('planes', 'num_foreground', 'exclusive', 'kind', 'value', 'colors'),
  [
    # A palette has black for the background, if there is one.
    (('background', 'a', 'b'), 2, True, 'index', 1, [BLACK, BLUE, YELLOW]),
    (('a', 'b'), 2, True, 'index', 1, [BLUE, YELLOW]),
    (('a',), 1, False, 'binary', 255, None),
    (('a',), 1, False, 'index', 1, [BLACK, BLUE]),
    (('a', 'b'), 2, False, 'index', 255, None),
  ],
)
def test_masks_look_as_the_config_of_their_run_reads_them(
  load_config, planes, num_foreground, exclusive, kind, value, colors
):
  config = load_config('binary:folder', **{'data.masks.kind': kind})
  classes = labels.ClassSpec(planes, num_foreground, exclusive)
  one, palette = segment.style(config, classes)
  assert one == value
  assert colors == (None if palette is None else palette.tolist())


# The table.


def measured(*areas):
  return measures.start(len(areas), 1)._replace(
    pixels=8,
    area=np.array(areas),
    probability=0.75 * np.array(areas),
    components=np.array(areas) // 2,
  )


def test_the_table_has_what_is_measured_and_is_read_again(tmp_path):
  image, path = tmp_path / 'x, y.png', tmp_path / 'table.csv'
  image.write_bytes(b'12345')
  origin = prediction_table.origin([image], '7-abc', 'none')
  rows = prediction_table.rows(image, ('a', 'b'), measured(4, 0), origin)
  expected = [('a', '4', '0.5', '2', '0.7500'), ('b', '0', '0', '0', '')]
  for row, (name, area, share, components, mean) in zip(
    rows, expected, strict=True
  ):
    assert (row['image'], row['class'], row['area']) == (str(image), name, area)
    assert (row['share'], row['components']) == (share, components)
    assert (row['mean_probability'], row['bytes']) == (mean, '5')
  prediction_table.write(path, [])
  assert prediction_table.read(path) == {}
  prediction_table.append(path, rows)
  with path.open('a') as file:
    file.write('other.png,a,1')  # The process was killed here.
  assert prediction_table.read(path) == {'x, y': rows}
  assert prediction_table.read(tmp_path / 'none.csv') == {}


def test_an_image_is_up_to_date_if_file_weights_and_options_are_the_same(
  tmp_path,
):
  image, names = tmp_path / 'x.png', ('a', 'b')
  image.write_bytes(b'12345')
  origin = prediction_table.origin([image], '7-abc', 'none')
  rows = prediction_table.rows(image, names, measured(1, 2), origin)
  assert prediction_table.agrees(rows, names, origin)
  assert not prediction_table.agrees(rows[:1], names, origin)
  assert not prediction_table.agrees(rows, ('a', 'c'), origin)
  others = [
    prediction_table.origin([image], '7-abd', 'none'),
    prediction_table.origin([image], '7-abc', 'more'),
  ]
  image.write_bytes(b'123456')
  others.append(prediction_table.origin([image], '7-abc', 'none'))
  for other in others:
    assert not prediction_table.agrees(rows, names, other)


def test_files_that_would_be_written_over_are_refused(tmp_path):
  image, other = tmp_path / 'x.png', tmp_path / 'x_overlay.png'
  own = {'': tmp_path / 'out/x.png', '_overlay': tmp_path / 'out/x_overlay.png'}
  predictions.check_targets({image: own})
  for targets in (
    {image: {'': image}},
    {image: own, other: {'': tmp_path / 'out/x_overlay.png'}},
  ):
    with pytest.raises(errors.InputError, match='name an empty folder'):
      predictions.check_targets(targets)


# Whole images, by a network whose logits are the image.


@pytest.fixture
def make_model(load_config):
  def network(_, batch):
    return batch['image'].astype(jnp.float32)

  def make(resize):
    config = load_config('multiclass:tiny', **{'data.resize': resize})
    classes = labels.ClassSpec(('background', 'a', 'b'), 2, exclusive=True)
    made = predictor.Predictor(
      classes=classes,
      model=None,
      mean=(0.0,) * 3,
      std=(1.0,) * 3,
      window=64,
      max_pixels=64**2,
      logits=parallel.map_batches(network),
      count=None,
    )
    return trained.Trained(config, made, {}, 1, ())

  return make


@pytest.mark.parametrize('resize', [0, 40])
def test_masks_have_the_size_of_the_image_also_if_the_run_scales_it(
  make_model, tmp_path, resize
):
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (30, 40, 3), np.uint8)
  image = image.repeat(2, axis=0).repeat(2, axis=1)  # Halved without loss.
  path, output = tmp_path / 'x.png', tmp_path / 'out'
  Image.fromarray(image).save(path)
  options = segment.Options(probabilities='npy')
  outcome = predictions.write(make_model(resize), [path], output, options)
  assert outcome == (1, 0, [])
  with Image.open(output / 'x.png') as mask:
    np.testing.assert_array_equal(mask, image.argmax(axis=-1))
  probs = np.load(output / 'x_probabilities.npy')
  assert probs.shape == image.shape
  if not resize:
    expected = scipy.special.softmax(image.astype(float), axis=-1)
    np.testing.assert_allclose(probs, expected, atol=1e-5)


def test_what_an_image_that_is_read_in_parts_cannot_have_is_said(
  make_model, tmp_path
):
  path, output = tmp_path / 'x.tif', tmp_path / 'out'
  Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(path)
  for resize, polygons, scales, text in (
    (40, False, (), 'config.data.resize=40'),
    (0, True, (), 'without --polygons'),
    (0, False, (0.5, 1.0), 'without --augment=scales'),
  ):
    options = segment.Options(polygons=polygons, max_pixels=1000)
    model = make_model(resize)
    model = model._replace(predictor=model.predictor._replace(scales=scales))
    outcome = predictions.write(model, [path], output, options)
    (failure,) = outcome.failures
    assert text in failure
    assert [x.name for x in output.iterdir()] == ['predictions.csv']


def test_a_file_that_cannot_be_written_ends_the_command(make_model, tmp_path):
  path, output = tmp_path / 'x.png', tmp_path / 'out'
  Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(path)
  (output / 'x.png.partial').mkdir(parents=True)  # As on a full disk.
  with pytest.raises(raster_files.NotWrittenError, match=r'x\.png cannot be'):
    predictions.write(make_model(0), [path], output, segment.Options())


# Several processes, as threads.


@pytest.fixture
def run_processes(monkeypatch):
  """Gives (function of no arguments, number) -> what each process returns."""
  local, values = threading.local(), {}

  def run(functions):
    count = len(functions)
    barrier = threading.Barrier(count)

    def exchange(key, value):
      values[key, local.index] = value
      barrier.wait(60)
      return [values[key, i] for i in range(count)]

    def call(index):
      local.index = index
      return functions[index]()

    monkeypatch.setattr(peers, 'index', lambda: local.index)
    monkeypatch.setattr(peers, 'count', lambda: count)
    monkeypatch.setattr(peers, 'exchange', exchange)
    with futures.ThreadPoolExecutor(count) as pool:
      done = [pool.submit(call, i) for i in range(count)]
    monkeypatch.undo()
    return done

  return run


@pytest.fixture
def images(tmp_path):
  """Writes 5 images; the third can't be read."""
  paths = [tmp_path / f'{i}.png' for i in range(5)]
  for path in paths:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
  paths[2].write_bytes(paths[2].read_bytes()[:40])
  return paths


def test_three_processes_share_five_images_and_write_one_table(
  make_model, run_processes, images, tmp_path
):
  write = functools.partial(predictions.write, make_model(0), images)
  output, alone = tmp_path / 'out', tmp_path / 'alone'
  done = run_processes([lambda: write(output, segment.Options())] * 3)
  expected = write(alone, segment.Options())
  assert expected[:2] == (4, 0)
  assert len(expected.failures) == 1
  assert [x.result() for x in done] == [expected] * 3
  names = [sorted(x.name for x in y.iterdir()) for y in (output, alone)]
  assert names[0] == names[1]
  tables = [
    prediction_table.read(x / 'predictions.csv') for x in (output, alone)
  ]
  assert list(tables[0]) == ['0', '3', '1', '4']  # By process; 2 has failed.
  assert tables[0] == tables[1]


def test_rows_that_a_process_left_behind_are_kept(
  make_model, run_processes, images, tmp_path
):
  output, options = tmp_path / 'out', segment.Options()
  write = functools.partial(predictions.write, make_model(0))
  write(images[:2], output, options)
  # Process 1 of two seems to have ended after an image, process 0 before.
  (output / 'predictions.csv').rename(output / 'predictions.1.part')
  assert write(images[:2], output, options) == (0, 2, [])
  assert not list(output.glob('*.part'))
  assert list(prediction_table.read(output / 'predictions.csv')) == ['0', '1']


def test_processes_with_other_images_are_refused(
  make_model, run_processes, images, tmp_path
):
  write = functools.partial(predictions.write, make_model(0))
  options = segment.Options()
  done = run_processes(
    [
      lambda: write(images[:2], tmp_path / 'out', options),
      lambda: write(images[:3], tmp_path / 'out', options),
    ]
  )
  for i, process in enumerate(done):
    with pytest.raises(errors.InputError, match=f'process {1 - i} has not the'):
      process.result()
  assert not (tmp_path / 'out').exists()
