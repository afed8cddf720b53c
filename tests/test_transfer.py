import numpy as np

from unet_jax.training import transfer


def leaves(**shapes):
  return {'params': {k: {'kernel': np.ones(v)} for k, v in shapes.items()}}


def test_the_plan_copies_what_fits_and_says_why_the_rest_is_made_anew():
  new = leaves(down0=(3, 4), down1=(4, 8), extra=(2,), head=(4, 2))
  old = leaves(down0=(3, 4), down1=(4, 9), head=(4, 2))
  old['params']['down0']['kernel'] *= 5
  merged, plan = transfer.warm_start(new, old)
  assert plan == [
    'params/down0/kernel: copied',
    'params/down1/kernel: re-initialised (shape (4, 9) there, (4, 8) here)',
    'params/extra/kernel: re-initialised (not in the other run)',
    'params/head/kernel: re-initialised (the head is for other classes)',
  ]
  np.testing.assert_array_equal(merged['params']['down0']['kernel'], 5)
  np.testing.assert_array_equal(merged['params']['down1']['kernel'], 1)
