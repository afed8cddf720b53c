"""The report of a comparison, from made-up curves and from real runs."""

import json

import pytest
from commands import call

from unet_jax import errors
from unet_jax.experiments import comparison


def test_the_first_step_with_a_score_is_returned_or_never():
  curve = comparison.Curve({10: 0.1, 20: 0.5, 30: 0.4, 40: 0.6}, 0.0)
  assert comparison.first_at(curve, 0.4) == '20'
  assert comparison.first_at(curve, 0.6) == '40'
  assert comparison.first_at(curve, 0.61) == 'never'


def test_the_report_has_a_line_per_seed_and_a_line_per_evaluation():
  cold = [
    comparison.Curve({10: 0.1, 20: 0.3}, 0.35),
    comparison.Curve({10: 0.4, 20: 0.2}, 0.25),
  ]
  warm = [
    comparison.Curve({10: 0.3, 20: 0.5}, 0.55),
    comparison.Curve({10: 0.1, 20: 0.15}, 0.45),
  ]
  lines = comparison.report(cold, warm).splitlines()
  assert lines[4:6] == [
    '| 0 | 0.300 | 0.500 | 20 | 10 | 0.350 | 0.550 |',
    '| 1 | 0.200 | 0.150 | 10 | never | 0.250 | 0.450 |',
  ]
  assert lines[-2:] == [
    '| 10 | 0.250 (0.100, 0.400) | 0.200 (0.100, 0.300) |',
    '| 20 | 0.250 (0.200, 0.300) | 0.325 (0.150, 0.500) |',
  ]


@pytest.mark.parametrize(
  ('args', 'message'),
  [
    (
      ['--source.optim.lrr=1'],
      '--source has no key optim.lrr; did you mean optim.lr?',
    ),
    (['--source', 'x.py'], "--source: 'x.py' is no file, and no preset"),
    (
      ['--source.optim.lr=-1'],
      '--source.optim.lr is -1.0; it must be a number, positive',
    ),
    (
      ['--config.optim.lrr=1'],
      '--config has no key optim.lrr; did you mean optim.lr?',
    ),
    (
      ['--config.optim.lr=-1'],
      'config.optim.lr is -1.0; it must be a number, positive',
    ),
  ],
)
def test_an_error_names_the_config_at_fault(tmp_path, args, message):
  files = (
    '--source',
    'configs/binary.py:tiny',
    '--config',
    'configs/binary.py',
  )
  done = call('compare', *files, *args, '--workdir', tmp_path, check=False)
  assert done.returncode == 1
  assert done.stderr.startswith(f'error: {message}')


def test_an_error_about_the_sources_data_names_its_flags(tmp_path, load_config):
  source, target = (load_config('binary:tiny') for _ in range(2))
  root = tmp_path / 'config.images'
  source.data.update(source='folder', root=str(root))
  with pytest.raises(errors.InputError) as caught:
    comparison.compare(source, target, tmp_path / 'runs', 1)
  assert str(caught.value) == (
    f'--source.data.root: no folder {root}; give it with --source.data.root'
  )


def test_a_command_trains_all_runs_and_a_second_call_trains_none(
  tmp_path, fundus_root
):
  args = (
    *('compare', '--seeds=1', '--workdir', tmp_path),
    *('--source', 'configs/binary.py:tiny'),
    *('--config', 'configs/transfer.py:tiny'),
    "--config.transfer.freeze=('encoder',)",
  )
  for name in ('source', 'config'):
    args += (f'--{name}.data.root={fundus_root}', f'--{name}.image_size=32')
    args += (f'--{name}.model.depth=1', f'--{name}.total_steps=2')
  text = call(*args).stdout
  report = (tmp_path / 'comparison.md').read_text()
  assert text.endswith(report)
  assert f'starts from {tmp_path}/source, step' in text
  assert (tmp_path / 'warm-0/init_from.txt').exists()
  assert not (tmp_path / 'cold-0/init_from.txt').exists()
  configs = [
    json.loads((tmp_path / f'{kind}-0/config.json').read_text())
    for kind in ('warm', 'cold')
  ]
  assert configs[0]['transfer'].pop('freeze') == ['encoder']
  assert configs[1]['transfer'].pop('freeze') == []
  assert configs[0] == configs[1]
  again = call(*args).stdout
  assert again.count('is finished, at step 2') == 3
  assert again.endswith(report)
