# What doctor says of a target with an RDMA device, and of one whose device cannot reach the initiator.
soft_roce
device=$(device_dax 0)
pool_set a.set "AUTO $device"
ask_doctor() {
    status=0
    output=$(as_user rpmemctl doctor "$user@$1" a.set --json 2>"$WORK/stderr" | tr -d ' \n'; exit "${PIPESTATUS[0]}") ||
        status=$?
    [ ! -s "$WORK/stderr" ] || cat "$WORK/stderr"
}
ask_doctor "$address"
contains "doctor" "$output" '"provider":"verbs"' '{"check":"rdma","machine":"target","verdict":"ok"' \
    '{"check":"rdma","machine":"initiator","verdict":"ok"' '{"check":"in-band","machine":"initiator","verdict":"ok"'
initiate create a.set
ask_doctor 127.0.0.1
equal "the status of doctor over loopback" "$status" 2
contains "doctor over loopback" "$output" '"verdict":"fail"' 'fi_info-pverbs'
