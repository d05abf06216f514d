# The same target, whose power is lost below sessions that outlive it: no call of the initiator fails, and after each loss both
# sides have the same bytes.
. /vm/cases/power-loss.sh
