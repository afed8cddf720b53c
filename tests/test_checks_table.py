"""CHECKS has every finding that the code can return, and no other."""

import ast
import functools
import inspect
import pathlib
import re

from test_run import call

import unet_jax
from unet_jax.data.checks.finding import SEVERITIES
from unet_jax.doctor import checks, diagnosis

PACKAGE = pathlib.Path(unet_jax.__file__).parent
PAGE = PACKAGE.parent / 'docs' / 'doctor.md'
TITLES = [check.title for check in checks.CHECKS]


@functools.cache
def read_package():
  """Returns {module: its syntax tree} of the package."""
  return {
    '.'.join(path.relative_to(PACKAGE.parent).with_suffix('').parts): ast.parse(
      path.read_text()
    )
    for path in PACKAGE.rglob('*.py')
  }


@functools.cache
def read_functions():
  """Returns {module.function: its syntax tree} for all top-level functions."""
  return {
    f'{module}.{node.name}': node
    for module, tree in read_package().items()
    for node in tree.body
    if isinstance(node, ast.FunctionDef)
  }


def finding_calls(tree):
  """Returns the calls `Finding(...)` in a syntax tree."""
  return [
    node
    for node in ast.walk(tree)
    if isinstance(node, ast.Call)
    and getattr(node.func, 'id', getattr(node.func, 'attr', '')) == 'Finding'
  ]


def constants(tree):
  return {x.value for x in ast.walk(tree) if isinstance(x, ast.Constant)}


def severities_of(call, function):
  """Returns the possible severities of a call, its first argument."""
  assigned = {}
  for node in ast.walk(function):
    if isinstance(node, ast.Assign):
      for target in node.targets:
        name = getattr(target, 'id', '')
        assigned[name] = assigned.get(name, set()) | constants(node.value)
  names = {x.id for x in ast.walk(call.args[0]) if isinstance(x, ast.Name)}
  values = constants(call.args[0]).union(*(assigned.get(x, ()) for x in names))
  return values & set(SEVERITIES)


def called_by(name):
  """Returns the functions of the package that a function calls directly."""
  module = name.rpartition('.')[0]
  full_names = {}  # Name in this module -> full name.
  for node in ast.walk(read_package()[module]):
    if isinstance(node, ast.ImportFrom):
      for alias in node.names:
        full_names[alias.asname or alias.name] = f'{node.module}.{alias.name}'
  names = set()
  for node in ast.walk(read_functions()[name]):
    if isinstance(node, ast.Call):
      owner, _, function = ast.unparse(node.func).rpartition('.')
      if owner:
        names.add(f'{full_names.get(owner, owner)}.{function}')
      else:
        names.add(full_names.get(function, f'{module}.{function}'))
  return names & read_functions().keys()


@functools.cache
def reached_from(name):
  """Returns a function and all functions that it calls, at any depth."""
  reached, waiting = set(), {name}
  while waiting:
    reached |= waiting
    waiting = set().union(*map(called_by, waiting)) - reached
  return reached


def name_of(function):
  return f'{function.__module__}.{function.__name__}'


def makes_findings(name):
  """Returns whether a function of the checks rooms returns findings."""
  returns = read_functions()[name].returns
  return re.match(r'unet_jax\.(data|doctor)\.checks\.', name) and (
    returns is not None and ast.unparse(returns) == 'list[Finding]'
  )


def test_a_title_has_one_row():
  assert len(TITLES) == len(set(TITLES))


def test_titles_are_literal_and_the_fields_are_named():
  for module, tree in read_package().items():
    for node in finding_calls(tree):
      where = f'{module}, line {node.lineno}'
      assert len(node.args) == 2, where
      assert isinstance(node.args[1], ast.Constant), where


def test_rows_have_the_titles_and_severities_that_the_code_has():
  made = {}
  for function in read_functions().values():
    for node in finding_calls(function):
      severities = severities_of(node, function)
      made.setdefault(node.args[1].value, set()).update(severities)
  assert made == {x.title: set(x.severities) for x in checks.CHECKS}


def test_severities_are_listed_from_the_worst():
  for check in checks.CHECKS:
    assert check.severities == tuple(
      sorted(check.severities, key=SEVERITIES.index)
    )


def test_a_function_makes_the_findings_of_its_rows():
  for find in {check.find for check in checks.CHECKS}:
    made = {
      node.args[1].value
      for name in reached_from(name_of(find))
      for node in finding_calls(read_functions()[name])
    }
    assert made == {x.title for x in checks.CHECKS if x.find is find}


def test_every_function_that_returns_findings_is_run_by_the_table():
  in_table = set().union(
    *(reached_from(name_of(check.find)) for check in checks.CHECKS)
  )
  for name in filter(makes_findings, read_functions()):
    if name not in in_table:  # It may only combine checks of the table.
      combined = set(filter(makes_findings, reached_from(name) - {name}))
      assert combined, name
      assert not finding_calls(read_functions()[name]), name


def test_a_check_asks_for_existing_facts():
  for check in checks.CHECKS:
    names = inspect.signature(check.find).parameters
    assert names.keys() <= {*diagnosis.Facts._fields}, check.title


def test_a_check_has_a_stage_that_the_doctor_runs():
  stages = {check.stage for check in checks.CHECKS}
  assert stages == {'data', 'step', 'overfit'}


# What users see of the table.


def test_the_page_has_the_table():
  assert checks.table() in PAGE.read_text(), (
    'put what `python -m unet_jax.doctor --list` prints into docs/doctor.md'
  )


def test_list_prints_the_table_without_a_config():
  assert call('doctor', '--list').stdout == checks.table()


def test_a_line_of_the_table_is_short():
  assert max(map(len, checks.table().splitlines())) <= 132
