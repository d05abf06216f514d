# The guest has Debian's packages and the installed files only, so a missing dependency fails a case.
for program in swift gcc cc ld; do
    ! command -v "$program" || fail "$program is there"
done
! ls /usr/lib/swift /usr/lib/x86_64-linux-gnu/libswift* 2>/dev/null || fail "Swift's runtime is there"
equal "missing libraries" "$(ldd /usr/bin/rpmemd /usr/bin/rpmemctl /usr/lib/librpmem.so.1 | grep 'not found' || true)" ""
rpmemd --version
