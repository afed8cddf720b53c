"""Scripts that no test runs: what they take from the package is still there."""

import ast
import importlib
import inspect
import pathlib

import pytest
from commands import run

FOLDER = pathlib.Path(__file__).parents[1] / 'benchmarks'
SCRIPTS = sorted([*FOLDER.glob('*.py'), *FOLDER.glob('peers/*.py')])


def faults(source: str) -> list[str]:
  """Lists names and keywords of the package's modules that it hasn't.

  Of modules that the source imports by `from unet_jax... import`, under
  whatever name; classes' attributes and places of arguments aren't looked at.
  """
  tree = ast.parse(source)
  modules = {}
  for node in ast.walk(tree):
    if isinstance(node, ast.ImportFrom) and node.module.startswith('unet_jax'):
      for alias in node.names:
        name = f'{node.module}.{alias.name}'
        modules[alias.asname or alias.name] = importlib.import_module(name)

  def find(node):
    is_ours = (
      isinstance(node, ast.Attribute)
      and isinstance(node.value, ast.Name)
      and node.value.id in modules
    )
    return (modules[node.value.id], node.attr) if is_ours else None

  found = []
  for node in ast.walk(tree):
    if place := find(node):
      module, name = place
      if not hasattr(module, name):
        found.append(f'{module.__name__} has no {name}')
    if isinstance(node, ast.Call) and (place := find(node.func)):
      function = getattr(*place, None)
      if callable(function):
        found += bad_keywords(function, node)
  return found


def bad_keywords(function, call: ast.Call) -> list[str]:
  """Lists keywords of a call that the function doesn't take, or misses."""
  given = {keyword.arg for keyword in call.keywords}
  parameters = inspect.signature(function).parameters.values()
  if any(x.kind is x.VAR_KEYWORD for x in parameters):
    return []
  found = given - {x.name for x in parameters} - {None}
  if None not in given:  # Else **settings may give them.
    found |= {
      x.name
      for x in parameters
      if x.kind is x.KEYWORD_ONLY and x.default is x.empty
    } - given
  return [f'{function.__name__}: {name}' for name in sorted(found)]


@pytest.mark.parametrize(
  'path', SCRIPTS, ids=lambda path: str(path.relative_to(FOLDER))
)
def test_what_a_benchmark_takes_from_the_package_is_there(path):
  assert faults(path.read_text()) == []


@pytest.mark.parametrize(
  ('line', 'expected'),
  [
    ('splits.load(x)', []),
    ('splits.from_lists(x)', ['unet_jax.data.splits has no from_lists']),
    ('splits.load(x, seed=0)', ['load: seed']),
    ('objective.balance(x, by="none")', ['balance: exclusive']),
    ('objective.balance(x, **settings)', []),
  ],
)
def test_what_is_gone_is_found(line, expected):
  imports = (
    'from unet_jax.data import splits\nfrom unet_jax.nn import objective'
  )
  assert faults(f'{imports}\n{line}') == expected


@pytest.mark.process
def test_benchmarks_start():
  """Asks them all for help in one process, which sets JAX up as they do."""
  program = (
    'import runpy, sys\n'
    'for path in sys.argv[1:]:\n'
    "  sys.argv = [path, '--help']\n"
    '  try:\n'
    "    runpy.run_path(path, run_name='__main__')\n"
    '  except SystemExit as end:\n'
    '    assert not end.code, path\n'
  )
  names = ('input', 'memory', 'operations', 'scaling', 'train_step')
  paths = [FOLDER / f'{name}.py' for name in names]
  settings = {'PYTHONPATH': f'{FOLDER}:{FOLDER.parent}'}
  done = run('-c', program, *paths, **settings)
  assert done.returncode == 0, done.stderr
  assert done.stdout.count('usage') == len(names)
