# What doctor says of a target with an RDMA device, and of one whose device cannot reach the initiator.
soft_roce
device=$(device_dax 0)
pool_set a.set "AUTO $device"
ask doctor "$user@$address" a.set
contains "doctor" "$output" '"provider":"verbs"' '{"check":"rdma","machine":"target","verdict":"ok"' \
    '{"check":"rdma","machine":"initiator","verdict":"ok"' '{"check":"in-band","machine":"initiator","verdict":"ok"'
initiate create a.set
ask doctor "$user@127.0.0.1" a.set
equal "the status of doctor over loopback" "$status" 2
contains "doctor over loopback" "$output" '"verdict":"fail"' 'fi_info-pverbs'
