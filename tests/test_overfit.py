"""Whether two crops can be learnt, and which fault is named if not."""

import numpy as np
import pytest

from unet_jax.data import labels
from unet_jax.doctor import overfit, statistics, survey


def make_example(seed, *, is_learnable=True):
  """Draws bright squares on dark noise; or plain grey with random labels."""
  rng = np.random.default_rng(seed)
  label = np.zeros((64, 64), np.uint8)
  for _ in range(3):
    y, x = rng.integers(0, 44, 2)
    label[y : y + 20, x : x + 20] = 1
  image = 60 + 120 * label + rng.integers(0, 20, (64, 64)).astype(np.uint8)
  if not is_learnable:
    image = np.full((64, 64), 99, np.uint8)
    label = rng.integers(0, 2, (64, 64)).astype(np.uint8)
  return dict(name=f'{seed}', image=image[..., None], label=label)


@pytest.fixture
def check(load_config, monkeypatch):
  """Gives (**overrides) -> the finding of overfit with two small crops."""
  monkeypatch.setattr(overfit, 'STEPS', 150)  # Enough for crops as small.

  def run(is_learnable=True, **overrides):
    config = load_config('binary:tiny')
    with config.unlocked():
      config.image_size = 16
      config.model.update(depth=1, width=8)
      config.update_from_flattened_dict(overrides)
    examples = {
      str(i): make_example(i, is_learnable=is_learnable) for i in range(2)
    }
    records = tuple(
      survey.Record(
        *(key, key, 'train', None, None, {}),
        label_stats=statistics.LabelStatistics(
          np.array([example['label'].sum()]), 64 * 64
        ),
      )
      for key, example in examples.items()
    )
    taken = survey.Survey(config, ('a',), None, records, examples.get)
    (finding,) = overfit.check(taken)
    return finding

  return run


@pytest.mark.parametrize('class_weights', ['none', 'inverse'])
def test_learnable_crops_are_learnt(check, class_weights):
  finding = check(**{'loss.class_weights': class_weights})
  assert finding.severity == 'note'
  assert 'the run can learn' in finding.text


@pytest.mark.parametrize('lr', [1e-8, 1e4])
def test_the_learning_rate_is_named_as_the_fault(check, lr):
  finding = check(**{'optim.lr': lr})
  assert finding.severity == 'error'
  assert 'the learning rate is at fault' in finding.text
  assert finding.settings == {'optim.lr': 2e-3}


def test_the_loss_is_named_as_the_fault(check):
  finding = check(**{'loss.ce': 0.0, 'loss.smooth': 1e12})
  assert finding.severity == 'error'
  assert 'the loss is at fault' in finding.text
  assert finding.settings == {'loss.ce': 1.0, 'loss.smooth': 1.0}


def test_the_data_is_named_as_the_fault(check):
  finding = check(is_learnable=False)
  assert finding.severity == 'error'
  assert 'the data is at fault' in finding.text
  assert not finding.settings


def test_the_densest_crop_is_the_one_with_mixed_classes():
  label = np.zeros((128, 160), np.uint8)
  label[64:, 96:] = 1
  image = np.arange(128 * 160).reshape(128, 160, 1).astype(np.uint8)
  classes = labels.ClassSpec(('a',), 1, exclusive=False)
  crop, crop_label = overfit.densest_crop(image, label, 32, classes)
  assert crop.shape == (32, 32, 1)
  assert crop_label.mean() == 0.5
  crop, crop_label = overfit.densest_crop(image, label, 192, classes)
  assert crop.shape == (192, 192, 1)
  assert (crop_label == 255).sum() == 192 * 192 - 128 * 160


def test_the_chosen_images_have_all_classes():
  counts = [(50, 0), (90, 1), (0, 3), (1, 30)]
  records = tuple(
    survey.Record(
      *(str(i), str(i), 'train', None, None, {}),
      label_stats=statistics.LabelStatistics(np.array(row), 100),
    )
    for i, row in enumerate(counts)
  )
  taken = survey.Survey(None, ('a', 'b'), None, records, None)
  assert overfit.choose(taken) == ['1', '3']
  assert overfit.choose(taken._replace(records=records[2:3])) == ['2']
