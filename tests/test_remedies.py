"""What messages tell a user to type is accepted where it is typed."""

import ast
import pathlib
import re
import shlex

import numpy as np
import pytest
from commands import ROOT
from PIL import Image
from settings import set_data

from unet_jax import command_line, defaults, knob, main
from unet_jax import config as config_lib
from unet_jax.data import sources, spec
from unet_jax.data.checks import finding as finding_lib
from unet_jax.doctor import diagnosis, proposal, survey

PACKAGE = pathlib.Path(sources.__file__).parents[1]
GROUPS = {key.rpartition('.')[0] for key in defaults.KEYS} | {'data'}


def texts():
  """Yields (file, text) of every string in the code, docstrings as well."""
  for path in PACKAGE.rglob('*.py'):
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield path.name, node.value


def test_every_key_in_a_message_exists():
  pattern = r'\bconfig\.((?:[a-z]\w*\.)*[a-z]\w*)'
  named = {
    (file, key)
    for file, text in texts()
    for key in re.findall(pattern, text)
    if key not in ('json', 'py')
  }
  known = {*defaults.KEYS, *GROUPS}
  wrong = {
    (file, key)
    for file, key in named
    if key not in known and key.rpartition('.')[0] not in known
  }
  assert len(named) > 80
  assert not wrong


def test_every_value_in_a_message_is_allowed():
  pattern = r'config\.([a-z][\w.]*)=([\w.-]*\w)'
  settings = {x for _, text in texts() for x in re.findall(pattern, text)}
  assert ('data.split.val_share', '0.2') in settings
  for key, text in settings:
    if key in defaults.KEYS:  # Not an entry of a map.
      default = defaults.KEYS[key].value
      value = type(default)(text) if isinstance(default, (int, float)) else text
      if not isinstance(default, (tuple, dict)):
        assert knob.allows(defaults.KEYS[key], value) or text.isupper(), key


def ones(mask):
  return mask


def wide(mask):
  return mask.astype(np.int32)


def deep(mask):
  return mask.astype(np.uint16)


def three(mask):
  mask = mask * np.uint8(255)
  mask[:3] = 127
  return mask


def graded(mask):
  return np.linspace(0, 255, mask.size).reshape(mask.shape).astype(np.uint8)


def coloured(mask):
  return np.array([(0, 0, 0), (200, 30, 30)], np.uint8)[mask]


def coloured_or_black(mask):
  return mask * 0 if mask[-1, 0] else coloured(mask)


def grey_and_alpha(mask):
  return np.stack([mask, np.full_like(mask, 255)], axis=-1)


def blurred(mask):
  return (mask * np.uint8(250)) + np.eye(*mask.shape, dtype=np.uint8) * 5


@pytest.mark.parametrize(
  'change',
  [
    *(ones, wide, deep, three, blurred),
    *(coloured, coloured_or_black, grey_and_alpha),
  ],
  ids=lambda change: change.__name__,
)
def test_what_the_doctor_writes_is_accepted(write_folder, load_config, change):
  root = write_folder('abcdefgh', size=(48, 48))
  for path in [*(root / 'masks').iterdir()]:
    with Image.open(path) as image:
      mask = np.asarray(image) // 255
    path.unlink()
    Image.fromarray(change(mask)).save(path.with_suffix('.tif'))
  config = load_config('binary:folder', image_size=32)
  set_data(config, root=str(root))
  findings = diagnosis.diagnose(survey.take(config), num_devices=4)
  proposed = proposal.collect(findings)
  assert any(x.severity == 'error' for x in findings)
  settings = {key: value for key, (value, _) in proposed.items()}
  mended = knob.unflatten(config_lib.flatten(config) | settings)
  config_lib.check(mended)
  wanted = spec.read(mended)
  sources.load(wanted, sources.open_layout(wanted))
  for finding in findings:
    parse_flags(finding)


def parse_flags(finding):
  """Asserts that main takes the flags of a remedy as its settings."""
  command = finding_lib.command(finding)
  if not command.startswith('--'):
    return  # A map that is too long for a line.
  argv = ['--config', f'{ROOT}/configs/binary.py:folder', *shlex.split(command)]
  args = command_line._parse(main.COMMAND, argv)
  flat = config_lib.flatten(args.config)
  assert {key: flat[key] for key in finding.settings} == finding.settings
