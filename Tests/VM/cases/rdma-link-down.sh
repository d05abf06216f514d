# A network that is cut: the target notices that an idle initiator is unreachable, and an initiator whose call waits notices
# that the target is. The initiator is another machine, whose program is guest/link-initiator.
modprobe -a virtio_net rdma_rxe rdma_ucm
device=$(device_dax 0)
mkdir /srv/sets
printf 'PMEMPOOLSET\nAUTO %s\n' "$device" >/srv/sets/a.set
# configure LINE...: writes the daemon's configuration, with these lines besides those of all sessions.
configure() {
    printf '%s\n' 'poolset-dir = /srv/sets' 'log-file = /run/rpmemd.log' 'log-level = info' 'peer-timeout = 8' "$@" \
        >/etc/rpmemd/rpmemd.conf
}
configure 'persist-apm = yes'
pkill -x sshd
ip address add 10.77.0.1/24 dev eth0
ip link set eth0 up
rdma link add rxe0 type rxe netdev eth0
passwd -d root >/dev/null
touch /run/ready
/usr/sbin/sshd -oPermitRootLogin=yes -oPermitEmptyPasswords=yes -oUsePAM=no
# Whether a daemon runs and has all lanes; sets $daemon to its process.
is_connected() { daemon=$(pgrep -x rpmemd) && [[ $(session) == *'lanes are connected'* ]]; }
has_ended() { ! pgrep -x rpmemd >/dev/null; }
# The log lines of the daemon.
session() { grep -sF "rpmemd[$daemon]" /run/rpmemd.log; }

# While its program does nothing, the initiator's device acknowledges more than once.
within 120 is_connected
sleep 10
is_connected || fail "the daemon ended though the initiator was there: $(session)"
within 60 has_ended
log=$(session)
[[ $log == *"gave no sign of life for 8 s: it counts as gone"* || $log == *"cannot be reached any more"* ]] ||
    fail "the daemon ended for another reason: $log"
grep err: <<<"$log"
# The NVDIMM's platform does not flush caches.
contains "the appliance method" "$(grep -A1 -E 'warn:|persist method' <<<"$log")" "Appliance Persistency Method" \
    "persist-apm: rxe0 is an RDMA device in software"
configure
within 120 test -e /run/idle
contains "the idle initiator" "$(cat /run/idle)" "ssh ended" "exit status 1"

within 60 is_connected
sleep 2
is_connected || fail "the initiator was through too early: $(session)"
monitor set_link link off
began=$SECONDS
within 60 has_ended
echo "the daemon ended $((SECONDS - began)) s after the link went down"
session | grep err:
# Longer than the initiator's time-out and the time to end its ssh.
sleep $((20 - (SECONDS - began) > 0 ? 20 - (SECONDS - began) : 0))
monitor set_link link on
within 120 test -e /run/busy
busy=$(cat /run/busy)
contains "the initiator in a call" "$busy" "exit status 1"
[[ $busy == *"within 8 s"* || $busy == *"lane 0"* ]] || fail "it failed for another reason: $busy"
