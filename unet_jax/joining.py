"""Brings the processes of a run together, and compares them.

JAX waits for a process that does not come for minutes, and then ends in C++
with a crash dump. So the processes meet first, at the same address: all others
call process 0, which answers when all are there, and alike.
"""

import contextlib
import functools
import importlib.metadata
import json
import os
import platform
import re
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
from jax._src import clusters, distributed

from unet_jax import errors, peers, relay

PACKAGES = ('unet_jax', 'jax', 'jaxlib', 'flax', 'optax', 'numpy')
RETRY = 0.2  # Seconds.


class Place(NamedTuple):
  """Which process this one is."""

  coordinator: str  # HOST:PORT of process 0.
  num_processes: int
  process_id: int
  local_device_ids: Sequence[int] | None = (
    None  # None: all devices of the host.
  )


def join(
  place: Place,
  timeout: float,
  facts: Mapping[str, str],
  *,
  shares_devices: bool = True,
) -> None:
  """Connects to the other processes of a run, and watches them.

  Args:
    place: from `find_place`.
    timeout: seconds to wait for the others, at the start and whenever one of
      them gives no sign of life.
    facts: name -> value, such as a key of the config, of everything that must
      be equal in all processes.
    shares_devices: whether a step runs on the devices of all processes. If not,
      JAX takes this process for the only one.

  Raises:
    InputError: a process does not come, or differs.
  """
  facts = {**versions(), **facts}
  host = socket.gethostname()
  message = {'process': place.process_id, 'host': host, 'facts': facts}
  if place.process_id:
    why = call(place.coordinator, message, timeout)
  else:
    why = gather(place, facts, timeout)
  if why:
    raise errors.InputError(why)
  # JAX's own handler takes SIGTERM, and nothing would read it.
  jax.config.update('jax_enable_preemption_service', False)
  coordinator = place.coordinator
  if place.process_id:
    host, port = address_of(coordinator)
    lost = functools.partial(peers.lost, coordinator)
    coordinator = relay.start(host, port, lost)
  initialize: Callable[..., None] = jax.distributed.initialize
  if not shares_devices:
    _start_devices(place)
    # The public function refuses to follow the start of the devices.
    initialize = distributed.global_state.initialize
  initialize(
    coordinator,
    place.num_processes,
    place.process_id,
    local_device_ids=place.local_device_ids,
    cluster_detection_method='deactivate',
    initialization_timeout=int(timeout),
    # The watch must see first that a process is gone.
    heartbeat_timeout_seconds=int(2 * timeout) + 10,
  )
  if not shares_devices:
    return
  local = f'{jax.local_device_count()} x {jax.local_devices()[0].device_kind}'
  check_devices(peers.store().exchange('devices', local, 2 * timeout))


def _start_devices(place: Place) -> None:
  """Starts JAX on the devices of this process."""
  if place.local_device_ids:
    ids = ','.join(map(str, place.local_device_ids))
    jax.config.update('jax_cuda_visible_devices', ids)
  jax.local_devices()


def check_devices(devices: Sequence[str]) -> None:
  """Raises InputError unless all processes have as many devices of a kind."""
  for process, text in enumerate(devices):
    if text != devices[0]:
      raise errors.InputError(
        f'process {process} has {text}, and process 0 has {devices[0]}; start '
        'all processes on equal devices'
      )


def find_place(
  coordinator: str, num_processes: int, process_id: int
) -> Place | None:
  """Returns which process this one is; None if it is the only one.

  Args:
    coordinator: HOST:PORT of process 0. If empty, SLURM's own variables say
      which process this is; elsewhere there is only this one.
    num_processes: number of processes.
    process_id: number of this process, from 0.

  Raises:
    InputError: the arguments contradict each other.
  """
  if not 0 <= process_id < num_processes:
    raise errors.InputError(
      f'--process_id {process_id}: it must be from 0 to {num_processes - 1}, '
      f'since --num_processes is {num_processes}'
    )
  if coordinator:
    address_of(coordinator)
    return Place(coordinator, num_processes, process_id)
  if num_processes > 1:
    raise errors.InputError(
      f'--num_processes {num_processes} needs --coordinator HOST:PORT'
    )
  if int(os.environ.get('SLURM_STEP_NUM_TASKS', '1')) == 1:
    return None
  address, count, process, devices = (
    clusters.ClusterEnv.auto_detect_unset_distributed_params(
      *(None, None, None, None, 'slurm', None)
    )
  )
  assert address
  assert count
  # JAX would give each process a single GPU, even if it is alone on its node.
  is_alone = re.fullmatch(
    r'1(\(x\d+\))?', os.environ.get('SLURM_STEP_TASKS_PER_NODE', '')
  )
  return Place(address, count, process or 0, None if is_alone else devices)


def address_of(coordinator: str) -> tuple[str, int]:
  """Returns host and port; raises InputError if there are none."""
  host, _, port = coordinator.rpartition(':')
  if not host or not port.isdigit():
    raise errors.InputError(
      f'--coordinator {coordinator}: it must be HOST:PORT of process 0'
    )
  return host.strip('[]'), int(port)


def versions() -> dict[str, str]:
  """Returns the versions that must be equal in all processes."""
  packages = {
    f'version of {x}': importlib.metadata.version(x) for x in PACKAGES
  }
  return {'version of Python': platform.python_version(), **packages}


def gather(place: Place, facts: Mapping[str, str], timeout: float) -> str:
  """Waits, as process 0, until all others have called; answers them all.

  Returns:
    Why the processes can't work together, as all others are told; '' if they
    can.
  """
  missing = set(range(1, place.num_processes))
  deadline = time.monotonic() + timeout
  calls: list[socket.socket] = []
  why = ''
  _, port = address_of(place.coordinator)
  is_dual = socket.has_dualstack_ipv6()
  family = socket.AF_INET6 if is_dual else socket.AF_INET
  try:
    server = socket.create_server(
      ('', port), family=family, dualstack_ipv6=is_dual
    )
  except OSError as error:
    return (
      f'--coordinator {place.coordinator}: process 0 cannot open this port '
      f'({os.strerror(error.errno or 0)}); name another'
    )
  with server:
    while missing and not why:
      server.settimeout(max(deadline - time.monotonic(), 0.01))
      try:
        connection, _ = server.accept()
      except TimeoutError:
        names = ', '.join(map(str, sorted(missing)))
        why = (
          f'process {names} of {place.num_processes} did not come to '
          f'--coordinator {place.coordinator} within {timeout:g} s; start it, '
          'or see its own error'
        )
        break
      calls.append(connection)
      message = receive(connection, 5)
      if message is None:  # Not a process of a run.
        continue
      if message['process'] not in missing:
        why = f'two processes have --process_id {message["process"]}'
      missing.discard(message['process'])
      why = why or compare(message, facts)
  for connection in calls:
    send(connection, {'why': why})
  for connection in calls:
    # The callers close first, so that the port is free for JAX.
    receive(connection, 1)
    connection.close()
  return why


def compare(message: Mapping, facts: Mapping[str, str]) -> str:
  """Returns how a process differs from process 0; '' if it does not."""
  theirs = message['facts']
  differing = [
    f'{key} is {theirs.get(key, "absent")}, and {facts.get(key, "absent")} in '
    'process 0'
    for key in sorted(facts | theirs)
    if facts.get(key) != theirs.get(key)
  ]
  if not differing:
    return ''
  return (
    f'process {message["process"]} on {message["host"]} differs: '
    f'{"; ".join(differing)}; start all processes with the same command'
  )


def call(coordinator: str, message: Mapping, timeout: float) -> str:
  """Calls process 0, and waits for its answer; returns `gather`'s text."""
  deadline = time.monotonic() + timeout
  reason = 'no answer'
  while (left := deadline - time.monotonic()) > 0:
    try:
      with socket.create_connection(address_of(coordinator), left) as link:
        send(link, message)
        # Process 0 itself gives up at about the same time.
        answer = receive(link, left + 5)
        if answer is not None:
          return answer['why']
        reason = 'it closed the connection'
    except OSError as error:
      reason = error.strerror or str(error)
    time.sleep(RETRY)
  return (
    f'--coordinator {coordinator}: process {message["process"]} on '
    f'{message["host"]} has not reached process 0 within {timeout:g} s '
    f'({reason}); correct the address, or start process 0'
  )


def send(connection: socket.socket, message: Mapping) -> None:
  """Sends a line of JSON, unless the other side is gone."""
  with contextlib.suppress(OSError):
    connection.sendall(json.dumps(message).encode() + b'\n')


def receive(connection: socket.socket, seconds: float) -> dict | None:
  """Returns the next line of JSON; None if none comes."""
  connection.settimeout(seconds)
  try:
    line = connection.makefile('rb').readline(1 << 24)
    return json.loads(line)
  except (OSError, ValueError):
    return None
