"""Images are grouped for intervals as they were for the splits."""

import numpy as np
from test_records import RECORD

from unet_jax.data import spec
from unet_jax.evaluation import evaluating


def group(load_config, tmp_path, rule, names):
  """Groups a record of images by the rule of a config."""
  overrides = {'data.split.group': rule, 'data.root': str(tmp_path)}
  config = load_config('binary:folder', **overrides)
  record = RECORD._replace(names=names, groups=names)
  record, notes = evaluating._with_groups(record, spec.read(config))
  return record.groups, notes


def test_a_rule_groups_the_images(load_config, tmp_path):
  groups, notes = group(load_config, tmp_path, '(p[0-9]+)_', ['p1_a', 'p1_b'])
  assert groups == ['p1', 'p1']
  assert notes == []


def test_without_a_rule_each_image_is_a_group(load_config, tmp_path):
  groups, notes = group(load_config, tmp_path, '', ['p1_a', 'p1_b'])
  assert len(np.unique(groups)) == 2
  assert notes == []


def test_a_rule_that_does_not_fit_the_split_is_reported(load_config, tmp_path):
  """The run is over by then: its scores are worth more than the groups."""
  names = ['p1_a', 'other']
  groups, notes = group(load_config, tmp_path, '(p[0-9]+)_', names)
  assert groups == names
  assert 'does not match other' in notes[0]
  assert notes[0].endswith('until then each image is a group of its own')
