#!/bin/sh
# Run by the DHCP client.
export PATH=/usr/bin:/usr/sbin
[ "$1" = bound ] || exit 0
# shellcheck disable=SC2154 # ip, mask, interface, serverid, router: from udhcpc
ip addr add "$ip/$mask" dev "$interface"
[ -z "${router-}" ] || ip route replace default via "${router%% *}"
echo "inside: $interface has $ip/$mask from $serverid"
