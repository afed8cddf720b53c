"""After which step a run ends when a signal has announced its end."""

import contextlib
import threading
from concurrent import futures

import pytest

from unet_jax import errors, peers, preemption


class Client:
  """The store of JAX's coordinator, within this process."""

  def __init__(self):
    self.values = {}
    self.changed = threading.Condition()

  def key_value_set(self, key, value, allow_overwrite=False):
    with self.changed:
      assert allow_overwrite or key not in self.values
      self.values[key] = value
      self.changed.notify_all()

  def blocking_key_value_get(self, key, milliseconds):
    with self.changed:
      assert self.changed.wait_for(lambda: key in self.values, 10)
      return self.values[key]

  def key_value_dir_get(self, folder):
    with self.changed:
      return [(k, x) for k, x in self.values.items() if k.startswith(folder)]


def run(notice, first_step, total_steps):
  """Returns the step after which a loop of `total_steps` steps ends."""
  for step in range(first_step, total_steps + 1):
    if notice.reached(step):
      return step
  return None


def test_one_process_ends_after_the_step_it_is_in():
  notice = preemption.Notice()

  def train():
    with notice.training(3):
      assert not notice.reached(4)
      assert not notice.reached(5)
      assert notice.give('SIGTERM')  # In step 6.
      assert run(notice, 6, 100) == 6

  with pytest.raises(errors.Preempted, match='SIGTERM: step 6 is saved'):
    train()


def test_without_a_notice_the_loop_ends_by_itself():
  notice = preemption.Notice()
  with notice.training(0):
    assert run(notice, 1, 20) is None


def test_before_the_loop_there_is_nothing_to_save():
  assert not preemption.Notice().give('SIGTERM')


def test_a_notice_after_the_last_step_counts_once_it_is_saved():
  notice = preemption.Notice()

  def train():
    with notice.training(0):
      assert run(notice, 1, 9) is None
      assert notice.give('SIGTERM')

  with pytest.raises(errors.Preempted, match='step 9 is saved'):
    train()
  assert not notice.give('SIGTERM')


def test_an_error_in_the_loop_is_not_hidden_by_a_notice():
  notice = preemption.Notice()

  def train():
    with notice.training(0):
      notice.give('SIGTERM')
      raise ZeroDivisionError

  with pytest.raises(ZeroDivisionError):
    train()


@pytest.mark.parametrize('steps', [(1, 1, 1), (7, 3, 5), (0, 9, 9)])
def test_all_processes_end_one_step_after_the_one_that_is_furthest(steps):
  client = Client()

  def train(i):
    notice, ended = preemption.Notice(), []
    store = peers.Store(client, i, len(steps))
    with contextlib.suppress(errors.Preempted), notice.training(steps[i]):
      assert notice.agree('SIGTERM to process 1', store)
      ended.append(run(notice, steps[i] + 1, 100))
    return ended

  with futures.ThreadPoolExecutor() as pool:
    ended = list(pool.map(train, range(len(steps))))
  assert ended == [[max(steps) + 1]] * len(steps)


def test_if_one_process_does_not_train_none_has_to_save():
  client = Client()

  def train(i):
    notice = preemption.Notice()
    store = peers.Store(client, i, 2)
    if i == 1:
      return notice.agree('SIGTERM', store)
    with contextlib.suppress(errors.Preempted), notice.training(4):
      agreed = notice.agree('SIGTERM', store)
    return agreed

  with futures.ThreadPoolExecutor() as pool:
    assert list(pool.map(train, range(2))) == [False, False]
