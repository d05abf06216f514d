# The target of the power loss case. The initiator on another machine, which stays on, opens pools here, checks all
# acknowledged bytes, and writes until this machine loses its power, vm.losses times. Its report has the results, and the
# moment of the next loss.
for word in $(cat /proc/cmdline); do
    case $word in
        vm.losses=*) losses=${word#vm.losses=} ;;
        vm.seed=*) seed=${word#vm.seed=} ;;
    esac
done
# The slow steps run at the same time on the two processors.
modprobe -a virtio_net rdma_rxe rdma_ucm &
network=$!
{
    passwd -d root >/dev/null
    /usr/sbin/sshd -r -oPermitRootLogin=yes -oPermitEmptyPasswords=yes -oUsePAM=no -oMaxStartups=50 \
        -oHostKey=/etc/ssh/ssh_host_ed25519_key
} &
logins=$!
# Without the earlier steps of ndctl's package: looking for keys takes a second.
modprobe --ignore-install libnvdimm
modprobe -a nfit nd_pmem dax_pmem device_dax
if [ "$STAGE" = 0 ]; then
    ndctl create-namespace --force --reconfig "$(namespace_of 0)" --mode devdax >/dev/null
    ndctl create-namespace --force --reconfig "$(namespace_of 1)" --mode devdax >/dev/null
    ndctl create-namespace --force --reconfig "$(namespace_of 2)" --mode fsdax >/dev/null
    # dax needs blocks of a page.
    mke2fs -q -F -t ext4 -b 4096 "$(made_device 2)"
    mke2fs -q -F -t ext4 /dev/vdc
fi
mkdir -p /srv/{sets,file,fsdax} /run/power-loss
mount /dev/vdc /srv/file
mount -o dax "$(made_device 2)" /srv/fsdax
# On the disk: who could write last to a device has to outlive the loss, too.
mkdir -p /srv/file/writers /var/lib/rpmemd
mount --bind /srv/file/writers /var/lib/rpmemd
printf 'PMEMPOOLSET\nAUTO %s\n' "$(made_device 0)" >/srv/sets/dax0.set
printf 'PMEMPOOLSET\nAUTO %s\n' "$(made_device 1)" >/srv/sets/dax1.set
printf 'PMEMPOOLSET\n8M /srv/file/0\n' >/srv/sets/file0.set
printf 'PMEMPOOLSET\n8M /srv/file/1\n' >/srv/sets/file1.set
printf 'PMEMPOOLSET\n8M /srv/fsdax/0\n' >/srv/sets/fsdax.set
# The daemons' log is printed at once: a file would be lost with the power.
mkfifo /run/power-loss/log
exec 8<>/run/power-loss/log
printf '%s\n' 'poolset-dir = /srv/sets' 'log-file = /run/power-loss/log' 'log-level = debug' >/etc/rpmemd/rpmemd.conf
next_log_line() { read -r -t "$1" line <&8 && echo "$line"; }

# The first time the machine stays off for longer than the initiator's default time-out.
uptime() { read -r up _ </proc/uptime; }
uptime
[ "$STAGE" != 1 ] || sleep $((${up%.*} < 32 ? 32 - ${up%.*} : 0))
wait $network
ip address add 10.77.0.1/24 dev eth0
ip link set eth0 up
rdma link add rxe0 type rxe netdev eth0
wait $logins

# This connection tells the initiator that the machine is up.
until exec 7<>/dev/tcp/10.77.0.2/7000; do sleep 1; done
uptime
echo "reachable $up s after its start"
report=$(cat <&7)
exec 7>&-
echo "$report"
read -r word sessions <<<"$report"
RANDOM=$((seed + STAGE * 7919))
case $word in
    opening)
        # Counted from the start of the first daemon; the time before belongs to ssh. The initiator has read all bytes two
        # to four seconds later.
        begins=$((1 + RANDOM % sessions)) moment=$((RANDOM % 3000))
        while [ $begins -gt 0 ] && next_log_line 60; do
            [[ $line != *"session started"* ]] || begins=$((begins - 1))
        done
        ;;
    writing) moment=$((RANDOM % 6000)) ;;
    done)
        equal "the number of power losses" "$STAGE" "$losses"
        exit
        ;;
    *)
        while next_log_line 1; do :; done
        fail "$(sed -n 2p <<<"$report")"
        ;;
esac
echo "power loss $((STAGE + 1)) in $moment ms"
pull_plug $moment
while next_log_line 600; do :; done
