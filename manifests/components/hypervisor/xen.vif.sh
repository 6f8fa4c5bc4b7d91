#!/bin/sh
# What libxl runs for a guest's card: XENBUS_PATH=backend/vif/DOMAIN/NUMBER vif=LINK vif-guest|vif-shared online|offline.
# Source: Xen, xl-network-configuration(5). The link is a port of its bridge. One of the guest's own is isolated:
# frames pass between it and the uplink alone, never to the host or to another guest, and it teaches the
# bridge no address, so that no guest takes another's. A shared one is a port as any other.
. /usr/lib/minbuild/init

fail() {
    xenstore-write "$XENBUS_PATH/hotplug-error" "$*" "$XENBUS_PATH/hotplug-status" error
    say guests "FAILED: card: $*"
    exit 1
}

# shellcheck disable=SC2154 # `vif` comes from libxl
online() {
    bridge=$(xenstore-read "$XENBUS_PATH/bridge")
    echo 1 >"/proc/sys/net/ipv6/conf/$vif/disable_ipv6"
    brctl addif "$bridge" "$vif" || fail "$vif does not become a port of $bridge"
    if [ "${0##*/}" = vif-guest ]; then
        echo 1 >"/sys/class/net/$vif/brport/isolated" || fail "$vif cannot be isolated"
        echo 0 >"/sys/class/net/$vif/brport/learning" || fail "$vif would teach the bridge"
    fi
    ip link set "$vif" up || fail "$vif does not come up"
    xenstore-write "$XENBUS_PATH/hotplug-status" connected
}

# libxl also calls with `add` and `remove`, for a device model's cards.
case $1 in
online) online ;;
offline) ip link set "$vif" down 2>/dev/null || true ;;
esac
