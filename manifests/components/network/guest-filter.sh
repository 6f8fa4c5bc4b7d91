#!/bin/sh
# What a guest's card may send. Run as a step it lays the rules; `vm` tells it of each card:
#   36-guest-filter add|del LINK MAC [IPV4…]    LINK is the guests' link to a bridge
. /usr/lib/minbuild/init

# Places in a frame, in bits: @ll,48,48 the sender's MAC; in ARP @nh,64,48 and @nh,112,32 the sender that it
# names; in IPv4 @nh,96,32 the source; behind UDP's head the address that DHCP gives at 192, whose at 288.
# DHCP is believed from the network and the host itself, never from a guest.
rules() {
    cat <<'END'
table bridge minbuild {
    set ports { type ifname; }
    set cards { typeof iifname . @ll,48,48; }
    set same { typeof @ll,48,48 . @nh,64,48; }
    set owned { typeof @ll,48,48 . @nh,96,32; size 65536; flags dynamic; }
    chain into {
        type filter hook prerouting priority -300;
        iifname @ports jump guest
        udp sport 67 udp dport 68 add @owned { @th,288,48 . @th,192,32 }
    }
    chain made {
        type filter hook output priority -300;
        udp sport 67 udp dport 68 add @owned { @th,288,48 . @th,192,32 }
    }
    chain guest {
        iifname . @ll,48,48 != @cards counter drop
        ether type != { arp, ip, ip6 } counter drop
        ether type arp @ll,48,48 . @nh,64,48 != @same counter drop
        ether type arp @nh,112,32 != 0 @ll,48,48 . @nh,112,32 != @owned counter drop
        ether type ip udp sport 67 counter drop
        ether type ip @nh,96,32 0 udp dport 67 accept
        ether type ip @ll,48,48 . @nh,96,32 != @owned counter drop
        ether type ip6 udp sport 547 counter drop
        ether type ip6 icmpv6 type { nd-router-advert, nd-redirect } counter drop
        ether type ip6 frag nexthdr { 17, 58 } counter drop
    }
}
END
}

start() {
    await modules 60
    if ! rules | nft -f -; then
        say guest-filter 'FAILED: the rules were refused; no guest gets a card'
        return 1
    fi
    reached guest-filter
    say guest-filter 'guests send from their own addresses alone'
}

# The port at the other end of a link, in `port`.
find_port() {
    read -r other <"/sys/class/net/$1/iflink"
    for port in /sys/class/net/veth*; do
        read -r index <"$port/ifindex"
        [ "$index" != "$other" ] || break
    done
    port=${port##*/}
}

# change add|delete LINK MAC [IPV4…]
change() {
    verb="$1 element bridge minbuild"
    find_port "$2"
    mac=0x$(echo "$3" | tr -d :)
    [ "$1" != add ] || echo "$verb ports { $port }"
    echo "$verb cards { $port . $mac }"
    echo "$verb same { $mac . $mac }"
    shift 3
    while [ $# -gt 0 ]; do
        # shellcheck disable=SC2046,SC2183 # its four parts
        echo "$verb owned { $mac . $(printf '0x%02x%02x%02x%02x' $(echo "$1" | tr . ' ')) }"
        shift
    done
}

case $1 in
start) start ;;
add)
    shift
    await guest-filter 60 && change add "$@" | nft -f -
    ;;
del)
    shift
    # one by one: what is not there any more keeps nothing else
    change delete "$@" | while read -r words; do
        nft "$words"
    done
    ;;
esac
