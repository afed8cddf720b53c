import numpy as np
import pytest

from unet_jax.data.synthetic_fundus import embedded, photograph

RED = ('hemorrhages', 'redsmalldots')
BRIGHT = ('hardexudates', 'softexudates')


@pytest.fixture(scope='module')
def drawn():
  """Draws a dozen pictures: uint8[N, 256, 256, 3] and bool[N, 256, 256]s."""
  rngs = [embedded.make_rng('test', index) for index in range(12)]
  images, masks = zip(*map(photograph.draw_fundus, rngs), strict=True)
  names = photograph.PLANES
  return np.stack(images), {n: np.stack([m[n] for m in masks]) for n in names}


@pytest.fixture
def few_images(monkeypatch):
  few = {'train': 2, 'val': 1, 'test': 1}
  monkeypatch.setattr(embedded, 'NUM_IMAGES', few)


def union(masks, names):
  return np.any([masks[name] for name in names], axis=0)


def best_f1(scores, target):
  """Returns the best F1 that any threshold on integer scores reaches."""
  hits = np.bincount(scores[target], minlength=256)[::-1].cumsum()
  predicted = np.bincount(scores, minlength=256)[::-1].cumsum()
  return np.max(2 * hits / (predicted + target.sum()))


def test_same_index_draws_the_same_and_others_do_not(drawn):
  images, masks = drawn
  rng = embedded.make_rng('test', 1)
  image, again = photograph.draw_fundus(rng)
  assert image.dtype == np.uint8
  np.testing.assert_array_equal(image, images[1])
  for name in photograph.PLANES:
    assert again[name].dtype == bool
    np.testing.assert_array_equal(again[name], masks[name][1])
  other = photograph.draw_fundus(embedded.make_rng('train', 1))
  assert np.mean(other[0] != images[1]) > 0.5
  assert not np.array_equal(images[0], images[1])


def test_masks_stay_inside_the_field(drawn):
  images, masks = drawn
  y, x = np.mgrid[:256, :256] - 127.5
  outside = np.hypot(x, y) > 130
  assert images[:, outside].mean() < 12
  for mask in masks.values():
    assert not mask[:, outside].any()


def test_shares_of_the_pixels(drawn):
  _, masks = drawn
  assert 0.08 < masks['vessels'].mean() < 0.12
  assert 0.015 < union(masks, RED).mean() < 0.03
  assert 0.015 < union(masks, BRIGHT).mean() < 0.03
  for name in RED + BRIGHT:
    assert masks[name].mean() > 0.002


def test_most_eyes_are_ill_and_some_healthy(drawn):
  _, masks = drawn
  is_ill = union(masks, RED + BRIGHT).any(axis=(1, 2))
  assert 0.6 < is_ill.mean() < 1


def test_lesions_overlap_each_other_and_vessels(drawn):
  _, masks = drawn
  red, bright = union(masks, RED), union(masks, BRIGHT)
  assert (red & bright).sum() > 20
  assert (red & masks['vessels']).sum() > 20
  assert (masks['hardexudates'] & masks['softexudates']).any()


def test_lesions_stand_out_from_their_surroundings(drawn):
  images, masks = drawn
  brightness = images.mean(axis=-1)
  free = ~union(masks, photograph.PLANES) & (images.max(axis=-1) > 25)
  shifts = [(y, x) for y in (-6, 0, 6) for x in (-6, 0, 6)]
  for name, mask in masks.items():
    near = np.any([np.roll(mask, s, axis=(1, 2)) for s in shifts], axis=0)
    step = brightness[mask].mean() - brightness[near & free].mean()
    assert step > 15 if name in BRIGHT else step < -10, name


def test_no_threshold_on_brightness_finds_the_lesions(drawn):
  images, masks = drawn
  is_field = images.max(axis=-1) > 25
  brightness = images[is_field].mean(axis=-1).astype(int)
  bright = union(masks, BRIGHT)[is_field]
  red = union(masks, RED)[is_field]
  assert best_f1(brightness, bright) < 0.4
  assert best_f1(255 - brightness, red) < 0.4


@pytest.mark.usefixtures('few_images')
def test_builder_gives_back_what_is_drawn(tmp_path, capfd):
  builder = embedded.make_builder(str(tmp_path))
  assert capfd.readouterr() == ('', '')
  for split, count in embedded.NUM_IMAGES.items():
    source = builder.as_data_source(split)
    assert len(source) == count
    for index in range(count):
      rng = embedded.make_rng(split, index)
      image, masks = photograph.draw_fundus(rng)
      example = source[index]
      assert example['name'] == f'{split}{index:03d}'.encode()
      np.testing.assert_array_equal(example['image'], image)
      for name, mask in masks.items():
        np.testing.assert_array_equal(example[name], 255 * mask[..., None])


@pytest.mark.usefixtures('few_images')
def test_second_builder_reads_what_the_first_wrote(tmp_path, monkeypatch):
  first = embedded.make_builder(str(tmp_path))
  monkeypatch.setattr(photograph, 'draw_fundus', None)
  second = embedded.make_builder(str(tmp_path))
  name = second.as_data_source('val')[0]['name']
  assert name == first.as_data_source('val')[0]['name']


@pytest.mark.usefixtures('few_images')
def test_incomplete_build_is_not_used(tmp_path, monkeypatch):
  with monkeypatch.context() as broken:
    broken.setattr(photograph, 'draw_fundus', None)
    with pytest.raises(TypeError):
      embedded.make_builder(str(tmp_path))
  builder = embedded.make_builder(str(tmp_path))
  assert len(builder.as_data_source('train')) == 2


@pytest.mark.usefixtures('few_images')
def test_build_that_another_process_finished_first_is_used(
  tmp_path, monkeypatch
):
  draw_fundus = photograph.draw_fundus

  def draw_while_another_builds(rng):
    monkeypatch.setattr(photograph, 'draw_fundus', draw_fundus)
    embedded.make_builder(str(tmp_path))
    return draw_fundus(rng)

  monkeypatch.setattr(photograph, 'draw_fundus', draw_while_another_builds)
  builder = embedded.make_builder(str(tmp_path))
  assert len(builder.as_data_source('train')) == 2
