"""Imports go one way: from a room of the package to the floors below it."""

import ast
import functools
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# The modules of a room may import their own room and the floors below. `doors`
# are api.py and the modules that run as commands, `ground` is all other modules
# outside of the rooms.
FLOORS = (
  ('doors',),
  ('command_line',),
  ('experiments', 'doctor', 'export'),
  ('training',),
  ('evaluation',),
  ('build',),
  ('nn', 'data', 'pages'),
  ('ground',),
)
# nn may import only itself, the codes of labels, examples packed in one buffer,
# and the cache of compiled code.
MAY_NN = {'unet_jax.data.codes', 'unet_jax.data.packed', 'unet_jax.cache'}


@functools.cache
def read_imports():
  """Returns {module: the modules of the package that it imports}.

  `from unet_jax.nn import conv` imports unet_jax.nn.conv, and not the package.
  """
  paths = {}
  for path in (ROOT / 'unet_jax').rglob('*.py'):
    parts = path.relative_to(ROOT).with_suffix('').parts
    paths['.'.join(parts).removesuffix('.__init__')] = path
  return {
    module: {
      name if name in paths else name.rpartition('.')[0]
      for name in imported(ast.parse(path.read_text()))
    }
    for module, path in paths.items()
  }


def imported(tree):
  """Returns the names that a syntax tree imports from the package."""
  names = []
  for node in ast.walk(tree):
    if isinstance(node, ast.ImportFrom):
      assert node.level == 0, 'write imports from the root'
      names += [f'{node.module}.{alias.name}' for alias in node.names]
    elif isinstance(node, ast.Import):
      names += [alias.name for alias in node.names]
  return [name for name in names if name.split('.')[0] == 'unet_jax']


def room_of(module):
  _, *parts = module.split('.')
  path = ROOT.joinpath(*module.split('.'))
  if not parts or parts[-1] == '__main__' or parts == ['api']:
    return 'doors'
  has_own_floor = parts[0] in ('build', 'command_line')
  if has_own_floor or len(parts) > 1 or path.is_dir():
    return parts[0]
  is_door = 'def main(argv' in path.with_suffix('.py').read_text()
  return 'doors' if is_door else 'ground'


def floor_of(room):
  return next(i for i, rooms in enumerate(FLOORS) if room in rooms)


def wrong_imports(imports):
  """Lists the imports that do not go down, as `importer -> imported`."""
  wrong = []
  for module, names in imports.items():
    room = room_of(module)
    for name in names:
      goes_down = floor_of(room) < floor_of(room_of(name))
      if room == 'nn':
        goes_down = name in MAY_NN
      if room != room_of(name) and not goes_down:
        wrong.append(f'{module} -> {name}')
  return sorted(wrong)


def find_cycles(imports):
  """Lists the import cycles, each as the chain of its modules."""
  cycles, done = [], set()

  def visit(module, path):
    if module in path:
      cycles.append(' -> '.join([*path[path.index(module) :], module]))
    elif module not in done:
      for name in sorted(imports.get(module, ())):
        visit(name, [*path, module])
      done.add(module)

  for module in sorted(imports):
    visit(module, [])
  return cycles


def test_every_folder_is_a_room_with_a_floor():
  rooms = {room_of(module) for module in read_imports()}
  assert rooms == {room for floor in FLOORS for room in floor}


def test_imports_go_down():
  assert wrong_imports(read_imports()) == []


def test_no_modules_import_each_other():
  assert find_cycles(read_imports()) == []


def test_no_module_is_called_utils():
  parts = {part for module in read_imports() for part in module.split('.')}
  assert not parts & {'util', 'utils'}


@pytest.mark.parametrize(
  ('importer', 'name'),
  [
    ('data.checks.classes', 'doctor.survey'),
    ('data.sources', 'training.setup'),
    ('data.crops', 'nn.augment'),
    ('evaluation.trained', 'training.step'),
    ('experiments.folds', 'doctor.survey'),
    ('nn.conv', 'config'),
    ('nn.losses', 'data.sources'),
    ('config', 'build'),
    ('training.loop', 'main'),
  ],
)
def test_an_import_that_goes_up_or_aside_is_found(importer, name):
  importer, name = f'unet_jax.{importer}', f'unet_jax.{name}'
  assert {importer, name} <= read_imports().keys()
  assert wrong_imports({importer: {name}}) == [f'{importer} -> {name}']


def test_a_cycle_is_found():
  assert find_cycles({'a': {'b'}, 'b': {'c'}, 'c': {'b'}}) == ['b -> c -> b']


def test_imports_inside_functions_count():
  source = 'def f():\n  from unet_jax import build\n  import unet_jax.nn.conv'
  assert imported(ast.parse(source)) == ['unet_jax.build', 'unet_jax.nn.conv']
