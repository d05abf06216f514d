# The header's shutdown state across a clean close, a killed daemon and an unsafe shutdown. The count is a file in place
# of the NVDIMM's attribute, which QEMU does not emulate.
device=$(device_dax 0)
pool_set a.set "AUTO $device"
dirty() { header "$device"; bytes "$WORK/header" $((4024 + 16)) 1; }
count() { header "$device"; od -An -tu8 -j 4024 -N 8 "$WORK/header" | tr -d ' '; }

hold one create a.set --provider sockets
equal "dirty while a created pool is open" "$(dirty)" 01
release one
equal "dirty after CLOSE" "$(dirty)" 00
hold two open a.set --provider sockets
equal "dirty while an opened pool is open" "$(dirty)" 01
pkill -KILL -x rpmemd
release two || true
equal "dirty after the daemon was killed" "$(dirty)" 01
initiate open a.set --provider sockets
equal "dirty after it was opened and closed" "$(dirty)" 00
hold three open a.set --provider sockets
pkill -TERM -x rpmemd
release three || true
equal "dirty after the daemon was terminated" "$(dirty)" 00

# The NVDIMM's attributes, with a count of unsafe shutdowns.
region=$(region_of 0)
dimm=$(sed 's/,.*//' "/sys/bus/nd/devices/$region/mapping0")
attributes=$(realpath "/sys/bus/nd/devices/$dimm/nfit")
mkdir "$WORK/nfit"
for file in "$attributes"/*; do cat "$file" >"$WORK/nfit/${file##*/}"; done
echo 3 >"$WORK/nfit/dirty_shutdown"
chmod -R a+rX "$WORK/nfit"
mount --bind "$WORK/nfit" "$attributes"
initiate open a.set --provider sockets
equal "unsafe shutdowns in the header" "$(count)" 3

# The platform failed to flush while the pool was closed: the pool lost nothing.
echo 4 >"$WORK/nfit/dirty_shutdown"
hold four open a.set --provider sockets
equal "unsafe shutdowns in the header" "$(count)" 4
# The same while it was open.
pkill -KILL -x rpmemd
release four || true
initiate open a.set --provider sockets
hold five open a.set --provider sockets
pkill -KILL -x rpmemd
release five || true
echo 5 >"$WORK/nfit/dirty_shutdown"
refused initiate open a.set --provider sockets
contains "what the target says" "$output" "$device" "unsafe shutdowns then 4, now 5" "may be corrupt"
equal "unsafe shutdowns in the header of a refused pool" "$(count)" 4
equal "dirty after a refused OPEN" "$(dirty)" 01
umount "$attributes"
