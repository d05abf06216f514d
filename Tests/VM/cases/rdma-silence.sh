# A call's time-out detects a target that hangs. The target notices at once that an initiator was killed. Then the pool is free.
soft_roce
device=$(device_dax 0)
pool_set a.set "AUTO $device"
head -c 64k /dev/urandom >"$WORK/data"
# begin ACTION: starts an initiator that waits for a line before it writes, with RPMEM_TIMEOUT=8.
begin() {
    # Without the words of the initiator before it, which would count as this one's until it has begun.
    rm -f "$WORK/input" "$WORK/said"
    mkfifo "$WORK/input"
    RPMEM_TIMEOUT=8 initiate "$1" a.set --data "$WORK/data" --prompted <"$WORK/input" >"$WORK/said" 2>&1 &
    initiator=$!
    exec 8>"$WORK/input"
    within 60 grep -qs ^connected "$WORK/said"
    daemon=$(pgrep -x -n rpmemd)
}
has_ended() { ! kill -0 "$1" 2>/dev/null; }

begin create
kill -STOP "$daemon"
began=$SECONDS
echo go >&8
wait $initiator || true
contains "a hanging target after $((SECONDS - began)) s" "$(cat "$WORK/said")" "no answer on lane 0 from" "within 8 s"
kill -CONT "$daemon"
within 30 has_ended "$daemon"

# An initiator that is stopped keeps its pool; one that is killed does not.
begin open
kill -STOP "$(pgrep -x -n vm-initiator)"
refused initiate open a.set
contains "while the initiator is stopped" "$output" "in use"
kill -KILL "$(pgrep -x -o vm-initiator)"
began=$SECONDS
within 30 has_ended "$daemon"
contains "the log after $((SECONDS - began)) s" "$(daemon_log | grep -F "rpmemd[$daemon]")" "the initiator is gone"
initiate open a.set
