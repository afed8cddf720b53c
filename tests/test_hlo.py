"""benchmarks/hlo.py parses a program in XLA's text format."""

import pathlib
import runpy

import pytest

TEXT = """HloModule jit_step

%conv.comp (p0: bf16[2,4,4,8], p1: bf16[3,3,8,8]) -> bf16[2,4,4,8] {
  %p0 = bf16[2,4,4,8]{3,2,1,0} parameter(0)
  %p1 = bf16[3,3,8,8]{3,2,1,0} parameter(1)
  ROOT %c = bf16[2,4,4,8]{3,2,1,0} convolution(%p0, %p1), window={size=3x3}
}

%slice.comp (q0: f32[100], q1: f32[10]) -> f32[10] {
  %q1 = f32[10]{0} parameter(1)
  %q0 = f32[100]{0} parameter(0)
  %s = f32[10]{0} slice(%q0), slice={[0:10]}
  ROOT %a = f32[10]{0} add(%s, %q1)
}

ENTRY %main (x: bf16[2,4,4,8], k: bf16[3,3,8,8], v: f32[100]) -> f32[10] {
  %x = bf16[2,4,4,8]{3,2,1,0} parameter(0)
  %k = bf16[3,3,8,8]{3,2,1,0} parameter(1)
  %v = f32[100]{0} parameter(2)
  %w = f32[10]{0} constant({...})
  %f = (bf16[2,4,4,8]{3,2,1,0}, s8[4096]{0}) fusion(%x, %k), kind=kCustom, \
calls=%conv.comp, metadata={op_name="jit(step)/conv0/conv"}, \
backend_config={"kind":"__cudnn$fusion"}
  ROOT %g = f32[10]{0} fusion(%v, %w), kind=kLoop, calls=%slice.comp
}
"""


@pytest.fixture(scope='module')
def hlo():
  path = pathlib.Path(__file__).parents[1] / 'benchmarks/hlo.py'
  return runpy.run_path(str(path))


def test_kernels_have_the_bytes_that_they_move(hlo):
  conv, add = hlo['kernels'](hlo['parse'](TEXT))
  assert conv.instruction.vendor_call == '__cudnn$fusion'
  assert conv.instruction.scope == 'jit(step)/conv0/conv'
  # Images and kernel have two bytes per value; the scratch space is no result.
  assert (conv.num_read, conv.num_written) == (2 * (256 + 576), 2 * 256)
  # The fusion reads ten of a hundred values, and ten of its other operand.
  assert (add.num_read, add.num_written) == (80, 40)
  assert not add.instruction.vendor_call


def test_a_shape_has_the_bytes_of_its_parts(hlo):
  assert hlo['num_bytes']('(bf16[8,3]{1,0}, f32[], pred[5]{0})') == 48 + 4 + 5
