# doctor on Device DAX that sessions could not use: by their alignment, and by who may open them. Each remedy is followed.
first=$(device_dax 0)
second=$(device_dax 1)
pool_set a.set "AUTO $first" "AUTO $second"
examine a.set
diagnosed parts target fail \
    "/home/tester/a.set: $first has an alignment of 2097152 bytes: several devices in a set need 4096, or \`OPTION SINGLEHDR\`" \
    "write the line \`OPTION SINGLEHDR\`, here and in the initiator's pool set"
refused initiate create a.set --provider sockets
ask check a.set
contains "check" "$output" '"code":"part-alignment"'
pool_set a.set "OPTION SINGLEHDR" "AUTO $first" "AUTO $second"
examine a.set
diagnosed parts target ok "2 can be opened, 0 can be made"
diagnosed map-sync target ok "parts are mapped through Device DAX"
initiate create a.set --incompat 7 --provider sockets
as_user rpmemd --remove a.set

# A user who is no member of the group.
gpasswd -d tester rpmem
examine a.set
diagnosed device-dax target warn ": tester may not use /dev/dax" \
    "\`sudo adduser tester rpmem\`, then log in again; the group has the devices by the udev rule 60-rpmem.rules"
diagnosed udev target warn "60-rpmem.rules, but tester is no member of group rpmem" \
    "\`sudo adduser tester rpmem\`, then log in again"
follow
examine a.set
diagnosed device-dax target ok "of root:rpmem, mode 0660"
diagnosed udev target ok "60-rpmem.rules, group rpmem"

# A device that the rule has not seen yet.
chown root:root "$first"
chmod 0600 "$first"
examine a.set
diagnosed device-dax target warn "$first of root:root, mode 0600, alignment 2097152" ": tester may not use $first" \
    "\`sudo udevadm control --reload && sudo udevadm trigger --subsystem-match=dax --settle\` gives the devices to group rpmem by the udev rule 60-rpmem.rules"
follow
examine a.set
diagnosed device-dax target ok "$first of root:rpmem, mode 0660"
