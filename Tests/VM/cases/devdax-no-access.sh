# A device that the session's user may not open is refused. The message has its owner and group.
device=$(device_dax 0)
pool_set a.set "AUTO $device"
chown root:root "$device"
chmod 600 "$device"
refused initiate create a.set --provider sockets
contains "what the target says" "$output" "$device: " "owned by root:root, mode 0600" "uid $(id -u tester)" "udev rule"
udevadm trigger --action=add "/sys/bus/dax/devices/${device##*/}"
udevadm settle
equal "the group that the shipped udev rule gives" "$(stat -c '%G %a' "$device")" "rpmem 660"
initiate create a.set --provider sockets
