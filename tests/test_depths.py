"""Images of all depths and channels: read, measured, trained and predicted."""

import json

import jax
import numpy as np
import pytest
import tifffile
from commands import call
from PIL import Image
from settings import set_data

from unet_jax import build, errors, parallel
from unet_jax.data import image_kinds, moments, scan, sources, spec, stats
from unet_jax.evaluation import predictor as predictor_lib
from unet_jax.evaluation import trained
from unet_jax.training import feed, resume, setup

NAMES = [f'case{i}' for i in range(6)]


def draw(seed):
  """Draws discs on noise: float[H, W] about 0.2 and 0.7, and bool[H, W]."""
  rng = np.random.default_rng(seed)
  y, x = np.mgrid[:40, :48]
  disc = (y - rng.integers(10, 30)) ** 2 + (x - rng.integers(10, 38)) ** 2 < 64
  return np.clip(rng.normal(0.2, 0.05, disc.shape) + 0.5 * disc, 0, 1), disc


def write_deep(path, grey):
  tifffile.imwrite(f'{path}.tif', (4095 * grey).astype(np.uint16))


def write_signed(path, grey):
  tifffile.imwrite(f'{path}.tif', (2000 * grey - 1000).astype(np.int16))


def write_five(path, grey):
  planes = np.stack([grey - i for i in range(5)], axis=-1)
  tifffile.imwrite(
    f'{path}.tif',
    planes.astype(np.float32),
    photometric='minisblack',
    planarconfig='contig',
  )


def write_numbered(path, grey):
  for i, channel in enumerate((grey, 1 - grey)):
    image = Image.fromarray((255 * channel).astype(np.uint8))
    image.save(f'{path}_{i:04d}.png')


WRITERS = {
  'deep': write_deep,
  'signed': write_signed,
  'five': write_five,
  'numbered': write_numbered,
}


@pytest.fixture
def write(tmp_path):
  """Returns the kind of images -> a folder of them, with masks."""

  def write_all(kind, root=None):
    root = root or tmp_path / kind
    (root / 'images').mkdir(parents=True)
    (root / 'masks').mkdir()
    for i, name in enumerate(NAMES):
      grey, disc = draw(i)
      WRITERS[kind](root / 'images' / name, grey)
      mask = Image.fromarray(255 * disc.astype(np.uint8))
      mask.save(root / 'masks' / f'{name}.png')
    return root

  return write_all


@pytest.fixture
def configure(load_config):
  """Returns (root, **settings) -> the config of a tiny run."""

  def make(root, **settings):
    config = load_config('binary:tiny')
    with config.unlocked():
      set_data(config, source='folder', root=str(root), mask='binary', merge={})
      config.update_from_flattened_dict(
        {'precision': 'float32', 'engine': 'xla', 'image_size': 32}
        | {'model.depth': 1, 'model.width': 4, 'data.channels': 'all'}
        | settings
      )
    return config

  return make


def load(config):
  data_spec = spec.read(config)
  return sources.load(data_spec, sources.open_layout(data_spec))


@pytest.mark.parametrize(
  ('kind', 'dtype', 'channels', 'limits'),
  [
    ('deep', 'uint16', 1, (0, 4095)),
    ('signed', 'int16', 1, None),
    ('five', 'float32', 5, None),
    ('numbered', 'uint8', 2, (0, 255)),
  ],
)
def test_statistics_are_those_of_the_training_pixels(
  write, configure, kind, dtype, channels, limits
):
  dataset = load(configure(write(kind)))
  images = [example['image'] for example in dataset.splits['train']]
  assert {(x.dtype.name, x.shape[2]) for x in images} == {(dtype, channels)}
  pixels = np.concatenate([x.reshape(-1, channels) for x in images])
  measured = dataset.stats
  assert measured.kind.dtype == dtype
  assert measured.limits == (limits or (pixels.min(), pixels.max()))
  pixels = pixels.astype(np.float64)
  np.testing.assert_allclose(measured.mean, pixels.mean(axis=0), rtol=1e-9)
  np.testing.assert_allclose(measured.std, pixels.std(axis=0), rtol=1e-6)
  expected = {'numbered': (('_0000', 1), ('_0001', 1))}
  assert measured.kind.parts == expected.get(kind, (('', channels),))
  assert (
    image_kinds.from_json(image_kinds.to_json(measured.kind)) == measured.kind
  )


def counts_of(low, high, **fields):
  image = stats.Counts(*[None] * len(stats.Counts._fields))
  return image._replace(low=low, high=high, **fields)


@pytest.mark.parametrize(
  ('high', 'white'),
  [(0, 1023), (1023, 1023), (1024, 4095), (16383, 16383), (16384, 65535)],
)
def test_white_is_that_of_the_least_camera_that_holds_all(high, white):
  images = [counts_of(0.0, float(high)), counts_of(0.0, 0.0)]
  assert stats.limits(images, 'uint16') == (0, white)
  assert stats.limits(images, 'uint8') == (0, 255)


def test_limits_of_one_value_are_apart():
  assert stats.limits([counts_of(-3.0, -3.0)], 'int16') == (-3, -2)


def test_sums_of_16_bits_do_not_overflow():
  pixels = 2**31  # Of white: the squares add up to 2^63.
  image = counts_of(
    *(0.0, 65535.0),
    pixels=pixels,
    sum=np.array([65535 * pixels]),
    squares=np.array([65535**2 * pixels]),
  )
  mean, std = stats.moments([image] * 4, span=65535.0)
  assert (mean, std) == ((65535.0,), (257.0,))


def test_numbered_files_are_one_image_only_if_masks_lack_the_number():
  files = {name: [name] for name in ('a_0000', 'a_0001', 'b_0000', 'b_0001')}
  assert scan.group(files, {'a_0000', 'b'}) == (files, ('',))
  assert scan.group(files, {'c'}) == (files, ('',))
  assert scan.group(files | {'c': ['c']}, {'a', 'b'})[1] == ('',)


def test_a_missing_file_of_an_image_is_named(write, configure):
  root = write('numbered')
  (root / 'images' / 'case3_0001.png').unlink()
  with pytest.raises(errors.InputError, match='files of case3 .*_0001 is miss'):
    load(configure(root))


def test_files_of_an_image_have_one_size(write, configure):
  root = write('numbered')
  Image.new('L', (9, 9)).save(root / 'images' / 'case3_0001.png')
  with pytest.raises(errors.InputError, match=r'case3_0001\.png: 9x9 pixels'):
    load(configure(root))


def test_moments_of_an_image_are_numpys():
  image = np.random.default_rng(0).normal(5, 3, (30, 40, 2))
  image[..., 1] = 7
  own = moments.of_image(image, 'image')
  np.testing.assert_allclose(own['mean'], image.mean((0, 1)), rtol=1e-6)
  np.testing.assert_allclose(own['std'], [image[..., 0].std(), 1], rtol=1e-6)
  strips = moments.of_strips([image[:7], image[7:]])
  np.testing.assert_allclose(strips['std'], own['std'], rtol=1e-6)
  own = moments.of_image(image, 'percentile')
  scaled = (image - own['mean']) / own['std']
  np.testing.assert_allclose(
    np.percentile(scaled[..., 0], (0.5, 99.5)), (0, 1), atol=1e-6
  )
  assert moments.of_image(image, 'dataset') == {}


def test_each_sample_has_the_moments_of_all_of_its_image(write, configure):
  config = configure(
    write('deep'), **{'data.normalise': 'image', 'batch_size': 8}
  )
  dataset = load(config)
  batch = next(build.make_batches(config, dataset))
  images = [example['image'] for example in dataset.splits['train']]
  means = np.array([image.mean() for image in images])
  nearest = np.abs(batch['mean'] - means).argmin(axis=1)
  np.testing.assert_allclose(batch['mean'][:, 0], means[nearest], rtol=1e-6)
  deviations = np.array([image.std() for image in images])
  np.testing.assert_allclose(batch['std'][:, 0], deviations[nearest], rtol=1e-5)
  for image, i in zip(batch['image'], nearest, strict=True):
    assert image[12:-12, 12:-12].max() <= images[i].max()


@pytest.mark.slow
def test_a_copy_of_16_bits_gives_the_same_inputs_loss_and_scores(
  write_folder, configure
):
  root = write_folder('abcdef', size=(48, 48), train='abcd', val='ef')
  settings = {'augment.noise': 0.1, 'augment.gamma': 0.3, 'augment.color': 0.2}
  config = configure(root, **settings)
  losses, counts = [], []
  for scale in (1, 257):
    for path in (root / 'images').iterdir() if scale > 1 else ():
      image = np.asarray(Image.open(path)).astype(np.uint16) * 257
      path.unlink()
      tifffile.imwrite(path.with_suffix('.tif'), image, photometric='rgb')
    dataset = load(config)
    assert dataset.stats.limits == (0, 255 * scale)
    run = setup.make_run(config, dataset.stats)
    state = parallel.replicate(parallel.on_host(run.init))
    batch = next(feed.batches(config, dataset, 'host'))
    state, metrics = run.train_step(state, batch)
    losses.append(float(jax.device_get(metrics['loss'])))
    if scale == 1:
      weights, first = jax.device_get(state.averaged), dataset.stats
    predictor = predictor_lib.make(
      config.copy_and_resolve_references(),
      run.predictor.classes,
      *(np.multiply(x, scale) for x in (first.mean, first.std)),
    )._replace(window=64)
    confusion, _ = predictor_lib.count_split(
      predictor, parallel.replicate(weights), dataset.splits['val']
    )
    counts.append(confusion)
  np.testing.assert_allclose(*losses, rtol=1e-5)
  np.testing.assert_allclose(*counts, atol=1e-3 * 48**2)


def test_a_run_without_the_kind_of_its_images_had_8_bits(write, configure):
  config = configure(write('deep'), **{'data.bits': '8'})
  meta = dict(mean=[1.0], std=[2.0])
  kind, limits = trained.images_of(meta, config)
  assert (kind, limits) == (image_kinds.Kind(parts=(('', 1),)), (0, 255))
  dataset = load(configure(write('signed')))
  saved = json.loads(json.dumps(resume.make_meta(config, dataset)))
  resume.check_data(saved, dataset)
  with pytest.raises(errors.InputError, match='limits of the images are not'):
    resume.check_data(saved | {'limits': [0, 255]}, dataset)


@pytest.mark.slow
@pytest.mark.parametrize('kind', WRITERS)
@pytest.mark.parametrize('how', ['dataset', 'image', 'percentile'])
def test_images_train_evaluate_and_predict(
  write, configure, tmp_path, kind, how
):
  root, workdir = write(kind), tmp_path / 'run'
  flags = [
    *('--config', 'binary:folder', f'--config.data.root={root}'),
    *('--config.image_size=32', '--config.model.depth=2'),
    *('--config.model.width=4', '--config.total_steps=30'),
    f'--config.data.normalise={how}',
  ]
  call('doctor', *flags)
  call('main', *flags, '--workdir', workdir)
  scores = json.loads((workdir / 'evaluation/val.json').read_text())
  assert scores['pooled']['macro']['f1'] > 0.2  # Everywhere gives about 0.2.
  output = tmp_path / 'masks'
  call(
    *('predict', '--workdir', workdir, '--input', root / 'images'),
    *('--output', output),
  )
  for name in NAMES:
    assert np.asarray(Image.open(output / f'{name}.png')).shape == (40, 48)
    overlay = np.asarray(Image.open(output / f'{name}_overlay.png'))
    assert overlay[:40].std() > 5  # Neither black nor white.
  call('evaluate', '--workdir', workdir, '--split', 'val')
  again = json.loads((workdir / 'evaluation/val.json').read_text())
  assert again['pooled'] == scores['pooled']
