"""The processes of a run meet, compare themselves, and miss each other."""

import socket
import threading
from concurrent import futures

import pytest

from unet_jax import errors, joining, peers, relay

FACTS = {'config.optim.lr': '0.002', 'version of jax': '1.0'}


def free_port():
  with socket.socket() as listener:
    listener.bind(('localhost', 0))
    return listener.getsockname()[1]


def meet(messages, count, timeout=20.0):
  """Lets process 0 and those of `messages` meet; returns what each is told."""
  coordinator = f'localhost:{free_port()}'
  place = joining.Place(coordinator, count, 0)
  with futures.ThreadPoolExecutor() as pool:
    first = pool.submit(joining.gather, place, FACTS, timeout)
    others = [
      pool.submit(
        *(joining.call, coordinator),
        *({'host': 'b', 'facts': FACTS} | message, timeout),
      )
      for message in messages
    ]
    return [call.result() for call in (first, *others)]


def test_processes_that_are_alike_begin():
  assert meet([{'process': 1}, {'process': 2}], 3) == ['', '', '']


def test_the_port_is_free_for_jax_after_the_meeting():
  coordinator = f'localhost:{free_port()}'
  place = joining.Place(coordinator, 2, 0)
  message = {'process': 1, 'host': 'b', 'facts': FACTS}
  for _ in range(2):
    with futures.ThreadPoolExecutor() as pool:
      first = pool.submit(joining.gather, place, FACTS, 20)
      assert joining.call(coordinator, message, 20) == ''
      assert first.result() == ''


def test_all_are_told_which_process_differs_and_in_what():
  other = FACTS | {'config.optim.lr': '0.1'}
  told = meet([{'process': 1, 'facts': other}], 2)
  assert told[0] == told[1]
  assert told[0].startswith(
    'process 1 on b differs: config.optim.lr is 0.1, and 0.002 in process 0; '
  )


def test_all_are_told_which_processes_did_not_come():
  told = meet([{'process': 2}], 5, timeout=1.0)
  assert told[0] == told[1]
  assert told[0].startswith('process 1, 3, 4 of 5 did not come to')


def test_two_processes_with_one_number_are_refused():
  told = meet([{'process': 1}, {'process': 1}], 3)
  assert 'two processes have --process_id 1' in told[0]


def test_what_is_no_process_of_a_run_is_passed_over():
  port = free_port()
  coordinator = f'localhost:{port}'
  place = joining.Place(coordinator, 2, 0)
  message = {'process': 1, 'host': 'b', 'facts': FACTS}
  with futures.ThreadPoolExecutor() as pool:
    first = pool.submit(joining.gather, place, FACTS, 20)
    while True:
      try:
        stranger = socket.create_connection(('localhost', port))
        break
      except ConnectionRefusedError:
        continue
    with stranger:
      stranger.sendall(b'GET / HTTP/1.1\r\n\r\n')
      assert joining.call(coordinator, message, 20) == ''
    assert first.result() == ''


def test_a_coordinator_that_is_not_there_is_named():
  coordinator = f'localhost:{free_port()}'
  message = {'process': 3, 'host': 'b', 'facts': FACTS}
  why = joining.call(coordinator, message, 0.5)
  assert why.startswith(
    f'--coordinator {coordinator}: process 3 on b has not reached process 0 '
    'within 0.5 s (Connection refused)'
  )


def test_a_port_that_is_taken_is_named():
  with socket.create_server(('localhost', 0)) as taken:
    coordinator = f'localhost:{taken.getsockname()[1]}'
    why = joining.gather(joining.Place(coordinator, 2, 0), FACTS, 1)
  assert 'cannot open this port (Address already in use)' in why


@pytest.mark.parametrize(
  ('args', 'text'),
  [
    (('a:1', 2, 2), '--process_id 2: it must be from 0 to 1'),
    (('', 2, 0), '--num_processes 2 needs --coordinator HOST:PORT'),
    (('localhost', 2, 0), '--coordinator localhost: it must be HOST:PORT'),
  ],
)
def test_flags_that_contradict_each_other_are_refused(args, text):
  with pytest.raises(errors.InputError, match=text):
    joining.find_place(*args)


def test_slurm_gives_the_place_and_all_gpus_to_a_process_alone_on_its_node(
  monkeypatch,
):
  for key, value in {
    'SLURM_JOB_ID': '7',
    'SLURM_STEP_NODELIST': 'node[3-4]',
    'SLURM_NTASKS': '2',
    'SLURM_STEP_NUM_TASKS': '2',
    'SLURM_PROCID': '1',
    'SLURM_LOCALID': '0',
    'SLURM_STEP_TASKS_PER_NODE': '1(x2)',
  }.items():
    monkeypatch.setenv(key, value)
  place = joining.find_place('', 1, 0)
  assert place == ('node3:61447', 2, 1, None)
  monkeypatch.setenv('SLURM_STEP_TASKS_PER_NODE', '4(x2)')
  assert list(joining.find_place('', 1, 0).local_device_ids) == [0]


def test_unequal_devices_are_named():
  joining.check_devices(['4 x cpu', '4 x cpu'])
  with pytest.raises(
    errors.InputError, match='process 2 has 4 x cpu, and process 0 has 4 x H100'
  ):
    joining.check_devices(['4 x H100', '4 x H100', '4 x cpu'])


def test_the_relay_passes_bytes_both_ways_and_reports_the_end_of_process_0():
  lost = threading.Event()
  with socket.create_server(('localhost', 0)) as server:
    address = relay.start('localhost', server.getsockname()[1], lost.set)
    client = socket.create_connection(joining.address_of(address))
    accepted, _ = server.accept()
  with client, accepted:
    client.sendall(b'hello')
    assert accepted.recv(5) == b'hello'
    accepted.sendall(b'world')
    assert client.recv(5) == b'world'
    assert not lost.is_set()
    accepted.close()
    assert lost.wait(20)


def test_a_process_is_gone_if_its_beat_stays_the_same_for_too_long():
  pulse = peers.Pulse(num_processes=3, seconds=30, now=0)
  assert pulse.gone({0: '1', 1: '1', 2: '1'}, now=10) == []
  assert pulse.gone({0: '2', 1: '1', 2: '2'}, now=39) == []
  assert pulse.gone({0: '3', 1: '1', 2: '3'}, now=41) == [1]


def test_a_process_that_never_gave_a_beat_is_gone():
  pulse = peers.Pulse(num_processes=2, seconds=30, now=0)
  assert pulse.gone({0: '9'}, now=31) == [1]


def test_a_process_that_is_done_is_not_gone():
  pulse = peers.Pulse(num_processes=2, seconds=30, now=0)
  assert pulse.gone({0: '1', 1: peers.DONE}, now=1) == []
  assert pulse.gone({0: '2', 1: peers.DONE}, now=100) == []
