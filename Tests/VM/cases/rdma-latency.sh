# How long a relaxed persist takes beside a bare round trip over the same device, in the same boot: as all is by default, and
# with everybody polling long enough that nobody falls asleep, which emulated CPUs do where real ones do not. In emulation
# only the ratio says something, so that none is asked for.
soft_roce
device=$(device_dax 0)
pool_set a.set "AUTO $device"
for poll in 50 2000; do
    echo "poll-time = $poll, RPMEM_POLL_TIME=$poll"
    settings "poll-time = $poll"
    as_user env RPMEMCTL_FLOOR_ADDRESS=$address RPMEM_POLL_TIME=$poll rpmemctl bench "$user@$address" a.set \
        --operations persist --modes relaxed,inline --sizes 64 --lanes 1 --count 1000 --seconds 8 2>&1
done
timeout 120 ib_send_lat -R -d rxe0 -s 64 -n 1000 >"$WORK/server" 2>&1 &
sleep 1
timeout 120 ib_send_lat -R -d rxe0 -s 64 -n 1000 $address | tail -3
