"""Batches: the same for any number of processes, resumable, complete."""

import itertools

import numpy as np
import pytest

from unet_jax.data import crops, labels, pipeline

KEYS = ('image', 'label', 'index')


def make_source(sizes, planes=()):
  """Makes examples in which every pixel encodes its example and position."""
  examples = []
  for i, (height, width) in enumerate(sizes):
    y, x = np.mgrid[:height, :width].astype(np.uint8)
    image = np.stack([np.full_like(x, i), y, x], axis=-1)
    label = np.zeros((height, width, *planes), np.uint8) + np.uint8(i % 3)
    examples.append(dict(name=str(i), image=image, label=label, overlap=0))
  return examples


def make_sampling(**settings):
  return pipeline.Sampling(
    **dict(image_size=8, window_size=8, seed=0) | settings
  )


def train_batches(source, num_steps, **settings):
  ours = settings.keys() & pipeline.Sampling._fields
  sampling = make_sampling(**{key: settings.pop(key) for key in ours})
  batches = pipeline.train_batches(
    source, sampling, **dict(batch_size=4) | settings
  )
  return list(itertools.islice(batches, num_steps))


def make_table(source):
  places_of = [
    crops.find_places(labels.to_planes(example['label'], 2))
    for example in source
  ]
  return crops.make_table(places_of, num_classes=2)


def assert_same(batches, others):
  for batch, other in zip(batches, others, strict=True):
    assert set(batch) == set(other)
    for key in batch:
      np.testing.assert_array_equal(batch[key], other[key])


def test_batch_has_fixed_shapes_and_types():
  source = make_source([(20, 30), (9, 50), (5, 5)])
  (batch,) = train_batches(source, 1)
  assert set(batch) == set(KEYS)
  assert batch['image'].shape == (4, 8, 8, 3)
  assert batch['label'].shape == (4, 8, 8)
  assert batch['image'].dtype == batch['label'].dtype == np.uint8
  assert batch['index'].dtype == np.int32


def test_window_is_the_crop_and_what_is_around_it():
  source = make_source([(30, 40)] * 3)
  (narrow,) = train_batches(source, 1)
  (wide,) = train_batches(source, 1, window_size=14)
  assert wide['image'].shape == (4, 14, 14, 3)
  for key in ('image', 'label'):
    np.testing.assert_array_equal(wide[key][:, 3:-3, 3:-3], narrow[key])


def test_step_s_reads_element_s_of_the_stream():
  batches = train_batches(make_source([(20, 20)] * 6), 5)
  index = np.concatenate([batch['index'] for batch in batches])
  np.testing.assert_array_equal(index, np.arange(20))


def test_every_epoch_has_every_image_once_in_an_order_of_its_own():
  source = make_source([(20, 20)] * 6)
  batches = train_batches(source, 6, batch_size=3)
  order = np.concatenate([batch['image'][:, 0, 0, 0] for batch in batches])
  epochs = order.reshape(3, 6)
  np.testing.assert_array_equal(
    np.sort(epochs), np.arange(18).reshape(3, 6) % 6
  )
  assert len({tuple(epoch) for epoch in epochs}) == 3


@pytest.mark.parametrize('num_images', [1, 3])
def test_batch_of_one_image(num_images):
  batches = train_batches(
    make_source([(8, 8)] * num_images), 4, batch_size=1, first_step=3
  )
  assert [int(batch['index'][0]) for batch in batches] == [2, 3, 4, 5]


def test_seed_decides_order_and_crops():
  source = make_source([(20, 20)] * 6)
  assert_same(train_batches(source, 3), train_batches(source, 3))
  (one,), (other,) = (train_batches(source, 1, seed=seed) for seed in (0, 1))
  assert not np.array_equal(one['image'], other['image'])


def test_image_that_comes_again_is_cropped_elsewhere():
  batches = train_batches(make_source([(90, 90)]), 2)
  corners = np.concatenate([b['image'][:, 0, 0, 1:] for b in batches])
  assert len(np.unique(corners, axis=0)) == 8


@pytest.mark.parametrize('count', [2, 4])
@pytest.mark.parametrize('share', [0.0, 0.5])
def test_parts_of_the_processes_are_the_batch_of_one(count, share):
  source = make_source([(20, 20 + i) for i in range(7)])
  settings = dict(table=make_table(source), foreground_share=share)
  whole = train_batches(source, 4, **settings)
  parts = [
    train_batches(source, 4, process_index=i, process_count=count, **settings)
    for i in range(count)
  ]
  for step, batch in enumerate(whole):
    together = [part[step] for part in parts]
    assert all(len(part['index']) == 4 // count for part in together)
    joined = {k: np.concatenate([p[k] for p in together]) for k in KEYS}
    order = np.argsort(joined['index'])
    assert_same([batch], [{k: v[order] for k, v in joined.items()}])


@pytest.mark.parametrize('count', [1, 2])
@pytest.mark.parametrize('share', [0.0, 0.5])
def test_resumed_stream_equals_an_uninterrupted_one(count, share):
  source = make_source([(20, 20)] * 5)
  settings = dict(process_index=count - 1, process_count=count)
  settings |= dict(table=make_table(source), foreground_share=share)
  unbroken = train_batches(source, 6, **settings)
  resumed = train_batches(source, 3, first_step=4, **settings)
  assert_same(unbroken[3:], resumed)


SIZES = [(60, 70)] * 5 + [(64, 64)] * 3 + [(10, 200), (60, 70)]


def lesions():
  """Makes three images, the class 1 in two of them and 2 in one, rarely."""
  source = make_source([(40, 50)] * 3)
  for example in source:
    example['label'][:] = 0
  source[0]['label'][5:25, 10:40] = 1
  source[1]['label'][30:, :20] = 1
  source[1]['label'][0, 0] = 2
  source[1]['label'][:, 45:] = labels.VOID
  return source


def test_stated_share_is_about_a_class_and_a_rare_one_as_often():
  source = lesions()
  settings = dict(table=make_table(source), foreground_share=0.75)
  batches = train_batches(source, 100, batch_size=8, **settings)
  counts = {1: 0, 2: 0}
  for batch in batches:
    is_about = [crops.is_foreground(i, 0.75) for i in batch['index'].tolist()]
    assert sum(is_about) == 6
    for label in batch['label'][is_about]:
      assert (label == 1).any() or (label == 2).any()
      counts[2 if (label == 2).any() else 1] += 1
  # 5 standard deviations of 600 draws are 61.
  assert abs(counts[1] - 300) < 61
  assert abs(counts[2] - 300) < 61


def test_without_a_class_crops_are_as_with_share_zero():
  source = make_source([(40, 50)] * 3)
  assert_same(
    train_batches(source, 2),
    train_batches(source, 2, table=((), ()), foreground_share=1.0),
  )


def test_evaluation_visits_every_image_once_in_order():
  source = make_source(SIZES)
  examples = list(pipeline.eval_examples(source))
  assert [example['index'] for example in examples] == list(range(len(SIZES)))
  for example, expected in zip(examples, source, strict=True):
    np.testing.assert_array_equal(example['image'], expected['image'])


@pytest.mark.parametrize('count', [1, 2, 4])
def test_samples_are_stacked_in_parts_and_zeros_fill_the_last_batch(count):
  samples = [
    dict(label=np.full((2, 3), i, np.uint8), weight=np.float32(1))
    for i in range(1, 11)
  ]
  parts = [
    list(pipeline.stack(samples, 4, process_index=i, process_count=count))
    for i in range(count)
  ]
  for key, shape in (('label', (12, 2, 3)), ('weight', (12,))):
    joined = [
      np.concatenate([part[step][key] for part in parts]) for step in range(3)
    ]
    stacked = np.concatenate(joined)
    assert (stacked.shape, stacked.dtype) == (shape, samples[0][key].dtype)
    expected = [
      *(sample[key] for sample in samples),
      *[0 * samples[0][key]] * 2,
    ]
    np.testing.assert_array_equal(stacked, np.stack(expected))


def test_names_are_those_of_the_crops_at_each_position():
  source = make_source([(20, 20)] * 6)
  for example in source:
    example['label'][3, 4] = 2
  settings = dict(table=make_table(source), foreground_share=0.5)
  batches = train_batches(source, 3, **settings)
  shown = {
    int(i): str(image[0, 0, 0])
    for batch in batches
    for i, image in zip(batch['index'], batch['image'], strict=True)
  }
  assert pipeline.names(source, make_sampling(**settings), shown) == shown
