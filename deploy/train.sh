#!/bin/sh
# train.py for a scheduler that knows only success and failure. Published, nothing new, not better than what is in service,
# and another run at work (0, 10, 11, 30) are success; every other code is passed on. Signals reach train.py.
home=$(dirname "$0")/..
"${PYTHON:-$home/.venv/bin/python}" "$home/train.py" "$@" &
run=$!
trap 'kill -TERM "$run"' TERM INT
trap 'kill -USR1 "$run"' USR1
while :; do # a signal ends the wait, not the run
    wait "$run"
    code=$?
    kill -0 "$run" 2> /dev/null || break
done
if [ "$code" -gt 128 ]; then # the signal's number, or the run's own end?
    wait "$run"
    again=$?
    [ "$again" -eq 127 ] || code=$again
fi
case $code in
0 | 10 | 11 | 30) exit 0 ;;
*) exit "$code" ;;
esac
