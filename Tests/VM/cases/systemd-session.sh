# A machine as an operator has it: systemd is the first program, it starts sshd, udev gives Device DAX to the group rpmem,
# PAM gives sessions the limits of README, and an ordinary user's session logs to the journal.
equal "the first program" "$(cat /proc/1/comm)" systemd
equal "sshd" "$(systemctl is-active ssh.service)" active
equal "what started it" "$(ps -o ppid= -p "$(systemctl show -P MainPID ssh.service)" | tr -d ' ')" 1
equal "what systemd finds in the units" "$(systemd-analyze verify --man=no rpmemd.socket rpmemd@1.service 2>&1)" ""
contains "the user" "$(getent passwd rpmem)" ":/var/lib/rpmem:"

device=$(device_dax 0)
flush=/sys/bus/nd/devices/$(region_of 0)/deep_flush
# The steps of README for a machine that was running when the files were installed.
chgrp root "$device" "$flush"
udevadm control --reload
udevadm trigger --settle --subsystem-match=dax --subsystem-match=nd
equal "$device" "$(stat -c '%U %G %a' "$device")" "root rpmem 660"
equal "$flush" "$(stat -c %G "$flush")" rpmem
as_user sh -c "echo 1 >$flush"

session=$(as_user ssh -T -oBatchMode=yes tester@127.0.0.1 'id -nG; ulimit -S -l; ulimit -H -l; echo $PPID')
contains "groups of a session" "$(sed -n 1p <<<"$session")" rpmem
equal "its limit of locked memory" "$(sed -n 2,3p <<<"$session" | tr '\n' ' ')" "unlimited unlimited "

# The journal is the default.
echo 'log-level = notice' >/home/tester/.rpmemd.conf
pool_set a.set "AUTO $device"
soft_roce
# The limit of the initiator, which is no session.
ulimit -l unlimited
head -c 3M /dev/urandom >"$WORK/data"
chmod 644 "$WORK/data"
as_user /vm/bin/vm-initiator create tester@10.77.0.1 a.set --provider verbs --data "$WORK/data" --mode deep --at 4096
as_user /vm/bin/vm-initiator open tester@10.77.0.1 a.set --provider sockets --data "$WORK/data" --at 4198400
daxio --input "$device" --output "$WORK/found" --len 8M
cmp -n 3M -i 0:4096 "$WORK/data" "$WORK/found"
cmp -n 3M -i 0:4198400 "$WORK/data" "$WORK/found"

journalctl --sync
contains "the journal" "$(journalctl -o cat SYSLOG_IDENTIFIER=rpmemd RPMEMD_PEER=10.77.0.1)" \
    "persistency policy:" "persist method: General Purpose" "persist flush: pmem_persist"
number=$(journalctl -o verbose SYSLOG_IDENTIFIER=rpmemd | sed -n 's/.*RPMEMD_SESSION=//p' | sort -u | wc -l)
equal "sessions in the journal" "$number" 2
equal "who logged" "$(journalctl -o verbose SYSLOG_IDENTIFIER=rpmemd | sed -n 's/ *_UID=//p' | sort -u)" "$(id -u tester)"
