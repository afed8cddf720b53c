"""Each rule of the plan, with data that triggers it and data that does not."""

import numpy as np
import pytest
from PIL import Image

from unet_jax.doctor import dataset_facts, planning, survey

GIB = 2**30
HEAD = dataset_facts.ClassFacts('head', 0.2, 300.0, 120.0, False)
SPOT = dataset_facts.ClassFacts('spot', 0.02, 20.0, 8.0, False)
VESSEL = dataset_facts.ClassFacts('vessel', 0.08, 600.0, 4.0, True)
ROAD = dataset_facts.ClassFacts('road', 0.3, 0.0, 80.0, False)  # Only regions.
MACHINE = planning.Machine()
GPU = planning.Machine(bytes=80 * GIB, is_cpu=False)


def plan(*classes, machine=MACHINE, fixed=(), seconds=0.0, **facts):
  known = dataset_facts.Facts(
    task='multiclass',
    has_background=True,
    longest=512,
    pixels=512.0**2,
    num_train=40,
    num_val=10,
    classes=classes,
  )._replace(**facts)
  planned = planning.plan(known, machine, dict(fixed), seconds=seconds)
  return {key: value for key, (value, _) in planned.items()}


def test_images_are_scaled_until_heads_fit_with_their_surroundings():
  planned = plan(HEAD)
  # 256 / (1.3 * 300) of 512 is 336.08; the next multiple of 32 is 352.
  assert planned['data.resize'] == 352
  assert planned['image_size'] == 256
  assert planned['image_size'] > 300 * 352 / 512


def test_images_of_small_objects_are_not_scaled():
  planned = plan(SPOT)
  assert planned['data.resize'] == 0
  assert planned['image_size'] == 128


def test_vessels_and_poles_are_not_scaled_away():
  assert plan(VESSEL)['data.resize'] == 0
  assert plan(VESSEL)['image_size'] == 256
  assert plan(HEAD, VESSEL)['data.resize'] == 0
  # 3 of 6 px are left at half the size, 256; the head alone would have 352.
  thick = VESSEL._replace(width=6.0)
  wide = HEAD._replace(side=480.0)
  assert plan(wide)['data.resize'] == 224
  assert plan(wide, thick)['data.resize'] == 256


def test_regions_that_span_the_image_set_no_scale():
  planned = plan(ROAD)
  assert (planned['data.resize'], planned['image_size']) == (0, 128)


def test_a_crop_is_not_larger_than_the_image():
  planned = plan(VESSEL._replace(side=60.0), longest=70, pixels=70.0**2)
  assert planned['image_size'] == 80
  assert planned['model.depth'] == 3  # 80 px are 10 at the bottom.


@pytest.mark.parametrize(('side', 'depth'), [(16, 1), (64, 3), (128, 4)])
def test_depth_leaves_8_pixels(side, depth):
  assert plan(SPOT, fixed={'image_size': side})['model.depth'] == depth
  assert plan(SPOT, fixed={'image_size': 1024})['model.depth'] == 4


def test_width_and_the_largest_crop_are_greater_on_a_gpu():
  large = HEAD._replace(side=390.0)
  cpu, gpu = plan(large), plan(large, machine=GPU)
  assert (cpu['model.width'], gpu['model.width']) == (16, 32)
  assert (cpu['image_size'], cpu['data.resize']) == (256, 288)
  assert (gpu['image_size'], gpu['data.resize']) == (512, 0)


def test_a_batch_is_what_images_memory_and_devices_allow():
  assert plan(SPOT)['batch_size'] == 8
  assert plan(SPOT, num_train=5)['batch_size'] == 5
  three = planning.Machine(num_parts=3)
  assert plan(SPOT, machine=three)['batch_size'] == 9
  # 90 bytes * 16 channels * 128^2 pixels are 23.6 MB a crop; 90 % of 80 MB.
  small = planning.Machine(bytes=80 * 10**6)
  assert plan(SPOT, machine=small)['batch_size'] == 3
  assert plan(VESSEL, machine=small)['image_size'] == 128  # 256: no two fit.


def test_half_of_the_crops_are_about_classes_that_are_rare():
  assert plan(HEAD, SPOT)['data.foreground_share'] == 0.5
  assert plan(HEAD)['data.foreground_share'] == 0.0


def test_classes_are_weighted_if_they_compete_and_are_common_and_ragged():
  def weights(*classes, **facts):
    return plan(*classes, **facts)['loss.class_weights']

  ragged = HEAD._replace(width=60.0)
  assert weights(HEAD) == 'none'
  assert weights(HEAD, ragged) == 'inverse'
  assert weights(ragged, SPOT) == 'none'
  assert weights(ragged, task='multilabel') == 'none'
  assert weights(ragged, has_background=False) == 'none'


def test_steps_cover_the_images_a_hundred_times():
  # 100 * 40 * 512^2 / (8 * 128^2) = 8000.
  assert plan(SPOT)['total_steps'] == 8000
  assert plan(SPOT, num_train=400)['total_steps'] == 10_000
  assert plan(SPOT, pixels=1000.0)['total_steps'] == 400


def test_a_budget_sets_the_steps():
  # 600 s at 1e6 px/s are 4577.6 steps of 8 * 128^2 px.
  fast = MACHINE._replace(pixels_per_second=1e6)
  planned = plan(SPOT, machine=fast, seconds=600.0)
  assert planned['total_steps'] == 4570
  assert planned['eval_every'] == planned['save_every'] == 457


def test_a_short_budget_makes_crops_smaller():
  fast = MACHINE._replace(pixels_per_second=1e6)
  # 200 steps of 8 * 256^2 px take 104.9 s.
  assert plan(HEAD, machine=fast, seconds=110.0)['image_size'] == 256
  planned = plan(HEAD, machine=fast, seconds=100.0)
  assert (planned['image_size'], planned['data.resize']) == (128, 192)


def test_costly_evaluations_are_fewer():
  # 900 images cost 900 * 512^2 / 3 px, 600 steps: one in 6000 is a tenth.
  assert plan(SPOT)['eval_every'] == 800
  assert plan(SPOT, num_val=900)['eval_every'] == 6000


def test_settings_of_the_user_stay_and_steer_the_rest():
  fixed = {'image_size': 128, 'total_steps': 50}
  planned = plan(HEAD, fixed=fixed, num_val=1)
  assert planned.keys() == planning.RULES.keys() - fixed.keys()
  assert planned['data.resize'] == 192  # 128 / 390 of 512 is 168.04.
  assert planned['eval_every'] == 5


@pytest.fixture
def write_shapes(write_folder):
  """Writes six images of 96 px, with masks that a function draws."""

  def write(draw, **lists):
    root = write_folder('abcdef', size=(96, 96), **lists)
    y, x = np.mgrid[:96, :96]
    for path in (root / 'masks').iterdir():
      mask = 255 * draw(y, x).astype(np.uint8)
      Image.fromarray(mask).save(path)
    return root

  return write


def facts_of(load_config, root, **overrides):
  config = load_config('binary:folder', **{'data.root': str(root)}, **overrides)
  return dataset_facts.gather(survey.take(config, with_test=False))


def test_a_disc_is_an_object_as_long_as_its_diameter(load_config, write_shapes):
  root = write_shapes(lambda y, x: (y - 48) ** 2 + (x - 48) ** 2 < 30**2)
  facts = facts_of(load_config, root)
  (disc,) = facts.classes
  assert (facts.longest, facts.num_train + facts.num_val) == (96, 6)
  assert not disc.is_line
  assert disc.side == 59
  assert disc.width == pytest.approx(30, rel=0.05)  # Half the diameter.
  assert disc.share == pytest.approx(np.pi * 30**2 / 96**2, rel=0.01)


def test_a_ring_is_a_line_as_wide_as_it_is_drawn(load_config, write_shapes):
  def draw(y, x):
    return np.abs(np.hypot(y - 48, x - 48) - 40) < 2

  (ring,) = facts_of(load_config, write_shapes(draw)).classes
  assert ring.is_line
  assert ring.width == pytest.approx(4, rel=0.1)
  assert ring.side == pytest.approx(83, abs=1)


def test_what_spans_the_image_is_no_object(load_config, write_shapes):
  (road,) = facts_of(load_config, write_shapes(lambda y, x: y > 40)).classes
  assert (road.side, road.is_line) == (0, False)


def test_no_test_image_is_read(load_config, write_shapes):
  lists = dict(train='abc', val='d', test='ef')
  root = write_shapes(lambda y, x: np.hypot(y - 48, x - 48) < 30, **lists)
  before = facts_of(load_config, root)
  assert (before.num_train, before.num_val) == (3, 1)
  for name in 'ef':
    (root / f'images/{name}.png').write_bytes(b'no image')
    Image.new('L', (96, 96), 255).save(root / f'masks/{name}.png')
  assert facts_of(load_config, root) == before


def test_objects_larger_than_the_crop_are_found(diagnose, write_shapes):
  root = write_shapes(lambda y, x: np.hypot(y - 48, x - 48) < 30)
  title = 'large objects'
  finding = diagnose(root)[title]  # Crops of 32 pixels.
  assert finding.severity == 'warning'
  assert 'a is typically 59 px long' in finding.text
  assert finding.settings == {'data.resize': 0, 'image_size': 96}
  assert title not in diagnose(root, resize=48)
