# Measures relaxed and inline persists and a bare round trip over the same device in the same boot. The first run uses the default
# poll times. In the second run initiator and target poll so long that no thread blocks: emulated CPUs are slow to wake up. The
# case checks no figure: in emulation only the ratio means something.
soft_roce
device=$(device_dax 0)
pool_set a.set "AUTO $device"
for poll in 50 2000; do
    echo "poll-time = $poll, RPMEM_POLL_TIME=$poll"
    settings "poll-time = $poll"
    as_user env RPMEMCTL_BASELINE_ADDRESS=$address RPMEM_POLL_TIME=$poll rpmemctl bench "$user@$address" a.set \
        --operations persist --modes relaxed,inline --sizes 64 --lanes 1 --count 1000 --seconds 8 2>&1
done
timeout 120 ib_send_lat -R -d rxe0 -s 64 -n 1000 >"$WORK/server" 2>&1 &
sleep 1
# For comparison only. It dies of SIGSEGV at times, which is no fault of the project's.
timeout 120 ib_send_lat -R -d rxe0 -s 64 -n 1000 $address >"$WORK/client" 2>&1 || echo "ib_send_lat: exit status $?"
tail -3 "$WORK/client"
