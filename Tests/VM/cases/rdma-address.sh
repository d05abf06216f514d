# Lanes need an address of an RDMA device. Another address is refused, with the reason.
soft_roce
device=$(device_dax 0)
pool_set a.set "AUTO $device"
ip link add other type dummy
ip address add 10.78.0.1/24 dev other
ip link set other up
trap 'ip link delete other' EXIT

settings "in-band-address = 10.78.0.1"
refused initiate create a.set
contains "an address without RDMA" "$output" "no RDMA device has the address" "10.78.0.1" "fi_info -p verbs" "in-band-address"

settings
address=10.78.0.1
refused initiate create a.set
contains "a target without RDMA" "$output" "10.78.0.1" "verbs"
address=127.0.0.1
refused initiate create a.set
contains "loopback" "$output" "RDMA"
