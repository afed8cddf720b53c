#!/usr/bin/env bash
# Runs a command of unet_jax on this machine; without one, main, which trains.
#
#   launch/local.sh --config configs/multiclass.py
#     one process, which uses all GPUs
#   launch/local.sh --processes 2 --config configs/multiclass.py
#     several processes on the CPU, joined over the loopback
#   launch/local.sh --processes 2 evaluate --workdir runs/multiclass
#
# A signal reaches all processes: they save and exit with 75, so the same command
# resumes. A second one ends them at once.
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
command=main
if [ $# -gt 0 ] && [[ $1 != -* ]]; then
  command=$1
  shift
fi
if [ "$processes" = 1 ]; then
  exec "$python" -m "unet_jax.$command" "$@"
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
send() {
  kill "-$1" "${pids[@]}" 2>/dev/null || true
}
# Processes that a shell starts in the background ignore Ctrl-C.
trap 'send TERM' INT TERM
trap 'send USR1' USR1
trap 'send HUP' HUP
trap 'send KILL' EXIT
for ((id = 0; id < processes; id++)); do
  "$python" -m "unet_jax.$command" "$@" --coordinator "localhost:$port" \
    --num_processes "$processes" --process_id "$id" &
  pids+=($!)
done

# The code is that of the first process that fails. The others learn of it, and
# end by themselves.
code=0
failed_at=
left=("${pids[@]}")
while [ ${#left[@]} -gt 0 ]; do
  sleep 0.2
  running=()
  for pid in "${left[@]}"; do
    if kill -0 "$pid" 2>/dev/null; then
      running+=("$pid")
      continue
    fi
    status=0
    wait "$pid" || status=$?
    [ "$code" != 0 ] || code=$status
  done
  left=("${running[@]}")
  if [ "$code" != 0 ] && [ "$code" != 75 ] && [ ${#left[@]} -gt 0 ]; then
    failed_at=${failed_at:-$SECONDS}
    if [ $((SECONDS - failed_at)) -ge 5 ]; then
      echo "a process ended with $code; ending the others" >&2
      send KILL
      wait "${left[@]}" || true
      break
    fi
  fi
done
exit "$code"
