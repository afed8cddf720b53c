"""The command plan as its user calls it."""

import runpy
import types

import pytest
from commands import call, write_images

from unet_jax import config as config_lib
from unet_jax import errors, plan
from unet_jax.doctor import planning, speed, survey


@pytest.fixture
def root(tmp_path):
  return write_images(tmp_path / 'images', 6)


def flags(root, *args):
  return ('--config', 'binary:folder', f'--config.data.root={root}', *args)


def rows(text):
  """Returns {key: (now, planned, reason)} of a printed table."""
  lines = [line.split(maxsplit=3) for line in text.splitlines()]
  return {x[0]: tuple(x[1:]) for x in lines if x[0] in planning.RULES}


def test_the_table_has_a_reason_for_each_key_and_the_config_is_valid(
  root, tmp_path
):
  path = tmp_path / 'planned.py'
  done = call('plan', *flags(root, '--write_config', path))
  table = rows(done.stdout)
  assert table.keys() == planning.RULES.keys()
  now, planned, reason = table['image_size']
  assert (now, planned) == ('256', '96')  # Images of 72x96.
  assert reason == 'images are 96 px long'
  config = runpy.run_path(str(path))['get_config']()
  config_lib.check(config)
  assert config.data.root == str(root)
  for key, (_, value, _) in table.items():
    assert f'{config_lib.flatten(config)[key]}' == value


def test_flags_stay_as_they_are_given(root):
  done = call('plan', *flags(root, '--config.batch_size=4'))
  assert rows(done.stdout)['batch_size'] == (
    *('4', '4', 'set on the command line'),
  )


def test_a_budget_is_divided_by_the_measured_speed(root, monkeypatch):
  # A batch is 8 crops of 96 px, of which the budget has 1000 a minute.
  monkeypatch.setattr(speed, 'measure', lambda *_: 8 * 96**2 * 1000 / 60)
  done = call('plan', *flags(root, '--budget', '1.5min'))
  assert rows(done.stdout)['total_steps'][1] == '1500'


@pytest.mark.slow
def test_the_speed_is_the_crops_pixels_over_the_time_of_a_step(
  root, load_config, monkeypatch
):
  config = load_config('binary:tiny')
  config.data.update(source='folder', root=str(root))
  config.image_size = 16
  config.model.update(depth=1, width=2)
  surveyed = survey.take(config, with_test=False)
  ticks = iter((100.0, 100.0 + 2.0 * speed.STEPS))  # 2 s a step.
  clock = types.SimpleNamespace(perf_counter=lambda: next(ticks))
  monkeypatch.setattr(speed, 'time', clock)
  assert speed.measure(surveyed, config) == 4 * 16**2 / 2


@pytest.mark.parametrize('text', ['10', 'soon', '1.2.3 s', '0 min', 'min'])
def test_a_budget_without_a_time_is_refused(text):
  with pytest.raises(errors.InputError, match='such as .10 min'):
    plan.read_budget(text)


def test_budgets_are_read_in_seconds():
  texts = ('', '90 s', '10 min', '1.5h')
  assert [plan.read_budget(x) for x in texts] == [0, 90, 600, 5400]


def test_a_plan_that_the_other_settings_forbid_is_refused(root, tmp_path):
  # Crops of 96 pixels may be bent by less than 6.
  path = tmp_path / 'planned.py'
  args = ('--config.augment.elastic=7', '--write_config', path)
  done = call('plan', *flags(root, *args), check=False)
  assert done.returncode == 1
  assert 'config.augment.elastic is 7.0 pixels' in done.stderr
  assert not path.exists()


def test_a_batch_is_divided_among_the_devices_and_micro_batches(root):
  args = ('--config.model.norm=group', '--config.optim.accumulate=3')
  done = call('plan', *flags(root, *args))
  assert rows(done.stdout)['batch_size'][1] == '12'  # Four devices.


def test_data_that_training_refuses_is_refused(root):
  (root / 'masks/im3.png').write_bytes(b'no image')
  done = call('plan', *flags(root), check=False)
  assert done.returncode == 1
  assert 'im3.png' in done.stderr
  assert done.stderr.count('\n') == 1
