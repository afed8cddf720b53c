#!/usr/bin/env bash
# Trains on this machine; arguments are those of unet_jax.main.
#
#   launch/local.sh --config configs/multiclass.py
#     one process, which uses all GPUs
#   launch/local.sh --processes 2 --config configs/multiclass.py
#     several processes on the CPU, joined over the loopback
set -euo pipefail

python=${PYTHON:-python}
if [ -z "${PYTHON:-}" ] && [ -x .venv/bin/python ]; then
  python=.venv/bin/python
fi
processes=1
if [ "${1:-}" = --processes ]; then
  processes=$2
  shift 2
fi
if [ "$processes" = 1 ]; then
  exec "$python" -m unet_jax.main "$@"
fi

export JAX_PLATFORMS=cpu
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(($(nproc) / processes > 0 ? \
  $(nproc) / processes : 1))}
port=$("$python" -c '
import socket
with socket.socket() as s:
  s.bind(("localhost", 0))
  print(s.getsockname()[1])')

pids=()
# Ends the processes that are left; JAX ignores SIGTERM once they have joined.
end() {
  kill "${pids[@]}" 2>/dev/null || return 0
  for _ in {1..20}; do
    kill -0 "${pids[@]}" 2>/dev/null || return 0
    sleep 0.1
  done
  kill -KILL "${pids[@]}" 2>/dev/null || true
}
trap end EXIT
for ((id = 0; id < processes; id++)); do
  "$python" -m unet_jax.main "$@" --coordinator "localhost:$port" \
    --num_processes "$processes" --process_id "$id" &
  pids+=($!)
done
# A process that fails ends the others, which would wait for it forever.
for ((id = 0; id < processes; id++)); do
  wait -n || exit $?
done
