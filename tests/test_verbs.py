"""The command unet-jax: its verbs, its help, and the list of keys."""

import pathlib
import sys

import pytest
from commands import call

import unet_jax
from unet_jax import __main__ as verbs
from unet_jax import defaults


def said(capsys, monkeypatch, *args):
  """Returns exit code, stdout and stderr of unet-jax with the arguments."""
  monkeypatch.setattr(sys, 'argv', ['unet-jax', *args])
  code = 0
  try:
    verbs.main()
  except SystemExit as end:
    code = end.code or 0
  return code, *capsys.readouterr()


@pytest.mark.parametrize('args', [(), ('-h',), ('--help',), ('help',)])
def test_help_has_a_line_for_each_command(capsys, monkeypatch, args):
  code, out, err = said(capsys, monkeypatch, *args)
  assert (code, err) == (0, '')
  for verb in verbs.VERBS:
    (line,) = [x for x in out.splitlines() if x.startswith(f'  {verb} ')]
    assert len(line.split()) > 2


def test_every_command_is_a_verb():
  folder = pathlib.Path(unet_jax.__file__).parent
  doors = {
    path.stem if path.stem != '__main__' else path.parent.name
    for path in [*folder.glob('*.py'), *folder.glob('*/__main__.py')]
    if 'COMMAND = command_line' in path.read_text()
  }
  assert doors - {'main'} == verbs.VERBS.keys() - {'train'}


def test_the_version_is_that_of_the_package(capsys, monkeypatch):
  code, out, _ = said(capsys, monkeypatch, '--version')
  assert (code, out) == (0, f'unet_jax {unet_jax.__version__}\n')


def test_an_unknown_verb_is_reported_with_the_nearest(capsys, monkeypatch):
  code, out, err = said(capsys, monkeypatch, 'trian')
  assert (code, out) == (1, '')
  assert err == "error: there is no 'trian'; did you mean train?; see --help\n"


def test_keys_lists_all_or_those_about_a_word():
  done = call('keys')
  for key, knob in defaults.KEYS.items():
    assert f'  {key} = {knob.value!r}\n' in done.stdout
  done = call('keys', 'learning', 'rate')
  assert '  optim.lr = ' in done.stdout
  assert '  data.root = ' not in done.stdout
  assert '  total_steps = ' in call('keys', 'totl_steps').stdout
  done = call('keys', 'xyzzy', check=False)
  assert done.returncode == 1
  assert done.stderr.startswith("error: no key is about 'xyzzy'; ")


def test_help_of_a_verb_has_presets_variants_and_common_keys():
  done = call('main', '-h')
  assert not done.stderr
  for part in ('  --workdir: ', '  multiclass:catdog', '  optim.lr = 0.002'):
    assert part in done.stdout
  assert max(map(len, done.stdout.splitlines())) < 100
