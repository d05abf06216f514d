# The target of the power loss case. Its initiator is another machine, which stays on: it opens pools here, finds all that
# was acknowledged to it, and writes until this machine goes off in the middle of it; vm.losses times. It says in a
# report what it has found, and when it is time to pull the plug.
for word in $(cat /proc/cmdline); do
    case $word in
        vm.losses=*) losses=${word#vm.losses=} ;;
        vm.seed=*) seed=${word#vm.seed=} ;;
    esac
done
modprobe -a nfit nd_pmem dax_pmem device_dax virtio_net rdma_rxe rdma_ucm
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
printf 'PMEMPOOLSET\nAUTO %s\n' "$(made_device 0)" >/srv/sets/dax0.set
printf 'PMEMPOOLSET\nAUTO %s\n' "$(made_device 1)" >/srv/sets/dax1.set
printf 'PMEMPOOLSET\n8M /srv/file/0\n' >/srv/sets/file0.set
printf 'PMEMPOOLSET\n8M /srv/file/1\n' >/srv/sets/file1.set
printf 'PMEMPOOLSET\n8M /srv/fsdax/0\n' >/srv/sets/fsdax.set
printf '%s\n' 'poolset-dir = /srv/sets' 'log-file = /run/rpmemd.log' 'log-level = notice' >/etc/rpmemd/rpmemd.conf

# The first time it stays away for longer than the initiator's default time-out.
[ "$STAGE" != 1 ] || sleep 32
ip address add 10.77.0.1/24 dev eth0
ip link set eth0 up
rdma link add rxe0 type rxe netdev eth0
passwd -d root >/dev/null
/usr/sbin/sshd -oPermitRootLogin=yes -oPermitEmptyPasswords=yes -oUsePAM=no -oMaxStartups=50 \
    -oHostKey=/etc/ssh/ssh_host_ed25519_key

report=/run/power-loss/report
until [ -e $report ]; do sleep 0.1; done
cat $report
RANDOM=$((seed + STAGE * 7919))
case $(head -1 $report) in
    # Sessions take seconds to start; records are written all the time.
    opening) moment=$((RANDOM % 12000)) ;;
    writing) moment=$((RANDOM % 2000)) ;;
    done)
        equal "the number of power losses" "$STAGE" "$losses"
        exit
        ;;
    *)
        cat /run/rpmemd.log || true
        fail "$(sed -n 2p $report)"
        ;;
esac
echo "power loss $((STAGE + 1)) in $moment ms"
pull_plug $moment
sleep infinity
