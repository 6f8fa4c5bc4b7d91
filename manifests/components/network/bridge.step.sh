# shellcheck shell=sh
# The step 30-network: links, the bridge, and what each event of the client begins.

# Links of real or virtual cards: ARPHRD_ETHER with a device behind them. A bond stands for its own.
links() {
    for dir in /sys/class/net/*; do
        [ -e "$dir/device" ] || [ -e "$dir/bonding" ] || continue
        [ ! -e "$dir/bonding_slave" ] && read -r type <"$dir/type" && [ "$type" = 1 ] && echo "${dir##*/}"
    done
}

has_carrier() {
    carrier=0
    read -r carrier <"/sys/class/net/$1/carrier" && [ "$carrier" = 1 ]
}

raise() {
    read -r flags <"/sys/class/net/$1/flags"
    [ $((flags & 1)) -eq 1 ] || ip link set "$1" up
}

# A card finds its speed while the settings of this machine are awaited.
take_settings() {
    [ -e /usr/lib/minbuild/credentials ] || return 0
    for link in $(links); do
        raise "$link"
    done
    take UPLINK uplink
    take STATIC_ADDRESS address
    take_own_name
}

# find_uplink TRIES: the first link with a carrier, in `uplink`; ten tries a second.
find_uplink() {
    tries=$1
    while [ "$tries" -gt 0 ]; do
        for link in $(links); do
            raise "$link"
            uplink=${UPLINK:-$link}
            [ "$uplink" = "$link" ] && has_carrier "$link" && return 0
        done
        tries=$((tries - 1))
        nap 0.1
    done
    return 1
}

# Without spanning tree there is nothing to wait for before a port forwards. The bridge itself has no
# address: what guests send to all ends there.
make_bridge() {
    brctl addbr "$BRIDGE" || return 1
    echo 0 >"/sys/class/net/$BRIDGE/bridge/forward_delay"
    echo 1 >"/proc/sys/net/ipv6/conf/$BRIDGE/disable_ipv6"
    pair "$INTERFACE" "$BRIDGE" host && ip link set "$BRIDGE" up && be_wary
}

# Nobody on the network changes the host's routes, or speaks in the name of an address that lies elsewhere.
be_wary() {
    for scope in all default "$INTERFACE"; do
        echo 1 >"/proc/sys/net/ipv4/conf/$scope/rp_filter"
        for family in ipv4 ipv6; do
            for name in accept_redirects accept_source_route; do
                echo 0 >"/proc/sys/net/$family/conf/$scope/$name"
            done
        done
    done
}

# The host's own link takes the card's address, so that its lease and what others let through stay the
# same; the card, which hears all as a port, takes another.
join() {
    echo 1 >"/proc/sys/net/ipv6/conf/$uplink/disable_ipv6"
    other=fe:${address#*:}
    [ "$other" != "$address" ] || other=fa:${address#*:}
    if ! ip link set "$uplink" address "$other" 2>/dev/null; then
        ip link set "$uplink" down
        ip link set "$uplink" address "$other" || { stay_alone 'takes no other address'; return; }
        ip link set "$uplink" up
    fi
    ip link set "$INTERFACE" address "$address" && brctl addif "$BRIDGE" "$uplink" &&
        say network "$BRIDGE up on $uplink ($address)"
}

# stay_alone WHY. A card that refuses another address would not hear what is sent to guests either.
stay_alone() {
    ip link set "$BRIDGE" down
    ip link del "$INTERFACE" && brctl delbr "$BRIDGE"
    echo 0 >"/proc/sys/net/ipv6/conf/$uplink/disable_ipv6"
    ip link set "$uplink" name "$INTERFACE" && ip link set "$INTERFACE" up || return 1
    be_wary
    say network "no bridge $BRIDGE: $uplink ($address) $1, and is $INTERFACE for the host alone"
}

take_uplink() {
    read -r address <"/sys/class/net/$uplink/address"
    if [ "$BRIDGED" ]; then
        join || say network "FAILED: $uplink does not join $BRIDGE"
    else
        stay_alone 'is not bridged' || say network "FAILED: $uplink does not become $INTERFACE"
    fi
}

# A cable that is plugged in later.
late_uplink() {
    until find_uplink 1; do
        nap 2
    done
    take_uplink
    # the card that is the host's alone has not the fixed address of the link whose place it takes
    [ -e "/sys/class/net/$BRIDGE" ] || [ ! -e "$STEPS/31-address" ] || "$STEPS/31-address" start
    ask_dhcp
}

ask_dhcp() {
    [ -x /usr/bin/udhcpc ] && [ -z "$STATIC_ADDRESS" ] || return 0
    keep dhcp udhcpc -f -i "$INTERFACE" -s "$0" ${NAME:+-x "hostname:$NAME"} -O mtu -O routes -O staticroutes -O ntpsrv -O search -t 5 -T 2 -A 5 &
}

start() {
    await drivers 60
    [ ! -e "$STEPS/25-bond" ] || await bond 30
    make_bridge &
    take_settings
    [ ! -e "$STEPS/22-link-names" ] || await link-names 60
    find_uplink $((UPLINK_WAIT * 10))
    found=$?
    if ! wait $!; then
        say network "FAILED: no bridge $BRIDGE"
        return 1
    fi
    if [ "$found" -eq 0 ]; then
        take_uplink
        ask_dhcp
    else
        late_uplink &
        say network "no link has a carrier: $BRIDGE is up without one (links: $(links | tr '\n' ' '))"
    fi
    reached network
    check
}

case $1 in
start) start ;;
stop) ;;
bound | renew) set -f && take_lease "$1" ;;
deconfig) lose_lease ;;
leasefail)
    [ -e "$STATE/dhcp-silent" ] || say dhcp "no server answers on $interface yet, still asking"
    reached dhcp-silent
    ;;
nak) say dhcp "refused by $(plain "${serverid-}"): $(plain "${message-}")" ;;
esac
