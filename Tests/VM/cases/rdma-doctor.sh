# What doctor says of a target with an RDMA device, of one whose device cannot reach the initiator, of one whose link is down, and of
# a limit on locked memory. The remedies are followed.
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

# A limit that is smaller than the pool, which the device pins: soft-RoCE does not page on demand.
settings "verbs-odp = no"
echo 'tester - memlock 64' >/etc/security/limits.d/10-case.conf
# examine, by a user who has just logged in at the initiator.
examine_after_login() {
    document=$(as_user ssh "$user@$address" rpmemctl doctor "$user@$address" a.set --json 2>"$WORK/stderr") || true
}
examine_after_login
diagnosed locked-memory initiator warn \
    "65536 bytes may be locked, and verbs pins the whole pool: one that is not smaller cannot be opened" \
    "\`echo 'tester - memlock unlimited' | sudo tee -a /etc/security/limits.d/rpmem.conf\`, then log in again"
diagnosed locked-memory target fail "65536 bytes may be locked, and verbs pins the pool, which has " \
    "\`echo 'tester - memlock unlimited' | sudo tee -a /etc/security/limits.d/rpmem.conf\`, then log in again"
follow
examine_after_login
diagnosed locked-memory initiator ok "no limit"
diagnosed locked-memory target ok "no limit"
diagnosed persistence-domain target ok "region0: cpu_cache (eADR)"

# The link.
ip link set dev rdma0 down
address=127.0.0.1
examine a.set
diagnosed rdma target warn "no port can be used: rxe0 port 1 is DOWN" \
    "bring the link up: \`sudo ip link set dev rdma0 up\`; \`rdma link\` shows it"
follow
within 30 has_rdma
examine a.set
diagnosed rdma target ok "rxe0 port 1 is up, GID "
