"""Parses a compiled XLA program: its kernels, and the bytes that each moves."""

import re
from collections.abc import Iterable
from typing import NamedTuple

_SIZES = {
  **dict.fromkeys(('pred', 's8', 'u8'), 1),
  **dict.fromkeys(('bf16', 'f16', 's16', 'u16'), 2),
  **dict.fromkeys(('f32', 's32', 'u32'), 4),
  **dict.fromkeys(('f64', 's64', 'u64'), 8),
}
# Opcodes that run nothing; they only name memory or pass it on.
_FREE = (
  *('parameter', 'constant', 'bitcast', 'tuple', 'get-tuple-element'),
  'after-all',
)


class Instruction(NamedTuple):
  """One line of a computation."""

  name: str
  shape: str  # With layouts; a tuple's shapes are in parentheses.
  opcode: str
  operands: tuple[str, ...]
  rest: str  # A parameter's number, and the text after the operands.

  @property
  def scope(self) -> str:
    """Returns the path of its source operation, such as jit(f)/conv0/add."""
    return _first(r'op_name="([^"]*)"', self.rest)

  @property
  def called(self) -> str:
    """Returns the name of the computation that a fusion runs, or ''."""
    return _first(r'calls=%([\w.\-]+)', self.rest)

  @property
  def vendor_call(self) -> str:
    """Returns the name of its call of cuDNN or cuBLAS; '' if it has none."""
    return _first(r'"(__cu(?:dnn|blas)[^"]*)"', self.rest)


class Kernel(NamedTuple):
  """An instruction of the entry computation that moves data."""

  instruction: Instruction
  num_read: int  # Bytes.
  num_written: int  # Bytes.


def parse(text: str) -> dict[str, list[Instruction]]:
  """Returns the instructions of each computation; the entry's key is ENTRY."""
  computations: dict[str, list[Instruction]] = {}
  lines: list[Instruction] | None = None
  for line in text.splitlines():
    start = re.match(r'(ENTRY )?%([\w.\-]+) \(.*\{\s*$', line)
    if start:
      lines = computations[start[1] and 'ENTRY' or start[2]] = []
    elif line.startswith('}'):
      lines = None
    elif lines is not None and (instruction := _parse_line(line)):
      lines.append(instruction)
  return computations


def kernels(computations: dict[str, list[Instruction]]) -> list[Kernel]:
  """Returns the entry's kernels, with the bytes that each reads and writes.

  A fusion that slices an operand reads only the slice. Caches are ignored: the
  bytes are those that the kernels request.
  """
  shapes = {x.name: x.shape for x in computations['ENTRY']}
  result = []
  for x in computations['ENTRY']:
    if x.opcode in _FREE:
      continue
    inner = computations.get(x.called, [])
    read = sum(
      _bytes_read(inner, i, num_bytes(shapes.get(name, '')))
      for i, name in enumerate(x.operands)
    )
    # A library's scratch space is an s8 vector beside its result.
    shape = re.sub(r's8\[\d+\]', '', x.shape) if x.vendor_call else x.shape
    result.append(Kernel(x, read, num_bytes(shape)))
  return result


def num_bytes(shape: str) -> int:
  """Returns the bytes of a shape or tuple, such as (bf16[8,3]{1,0}, f32[])."""
  total = 0
  for dtype, dims in re.findall(r'\b([a-z]+\d*)\[([\d,]*)\]', shape):
    size = _SIZES.get(dtype, 0)
    for dim in filter(None, dims.split(',')):
      size *= int(dim)
    total += size
  return total


def _parse_line(line: str) -> Instruction | None:
  match = re.match(
    r'\s*(?:ROOT )?%([\w.\-]+) = (\(.*?\)|\S+) ([a-z][\w\-]*)\((.*)$', line
  )
  if not match:
    return None
  name, shape, opcode, tail = match.groups()
  end = _closing(tail)
  operands = tuple(re.findall(r'%([\w.\-]+)', tail[:end]))
  number = tail[:end] if opcode == 'parameter' else ''
  return Instruction(name, shape, opcode, operands, number + tail[end:])


def _closing(text: str) -> int:
  """Returns the index of the parenthesis that closes the one before `text`."""
  depth = 1
  for i, char in enumerate(text):
    depth += (char == '(') - (char == ')')
    if not depth:
      return i
  return len(text)


def _bytes_read(inner: list[Instruction], number: int, whole: int) -> int:
  """Returns how many of operand `number`'s `whole` bytes a fusion reads."""
  name = next(
    (
      x.name
      for x in inner
      if x.opcode == 'parameter' and x.rest.startswith(f'{number})')
    ),
    None,
  )
  users = [x for x in inner if name in x.operands]
  if not users or any(x.opcode not in ('slice', 'gather') for x in users):
    return whole
  return min(whole, sum(num_bytes(x.shape) for x in users))


def _first(pattern: str, text: str) -> str:
  match = re.search(pattern, text)
  return match[1] if match else ''


def total(kernels_: Iterable[Kernel]) -> int:
  """Returns the bytes that kernels read and write together."""
  return sum(x.num_read + x.num_written for x in kernels_)
