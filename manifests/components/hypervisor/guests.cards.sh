# shellcheck shell=sh
# The part of vm that makes a guest's network cards.

# A card is a macvtap: the kernel gives it what is sent to its address, and nothing of another guest's. It
# lies on the guests' link to the bridge, whose port is isolated from the host's own: what the guests of
# this link send goes to the uplink, and neither to the host nor to each other, whatever address
# they write into it. A card that is shared has a link of its own, whose port is as any other.
make_cards() {
    drop_cards
    card=0
    for net in $nets; do
        split_net "$net"
        tap=vm$((uid - USERS))-$card
        [ "$address" ] || address=$(mac "$card")
        wrong=
        if ! lay_link; then
            wrong="no link to the bridge $bridge"
        elif ! ip link set "$tap" address "$address" || is_host_s "$tap"; then
            wrong='no card has such an address, or the host or another guest has it'
        elif ! filter add "$tap"; then
            wrong='the filter of network/guest-filter does not take the card'
        fi
        if [ -z "$wrong" ]; then
            # multicast too: which groups a guest is in, QEMU does not tell
            ifconfig "$tap" allmulti up
        else
            [ ! -e "/sys/class/net/$tap" ] || ip link del "$tap"
            echo "net=$net: $wrong" >&2
        fi
        card=$((card + 1))
    done
}

# The card `tap` on the link that it needs; what goes with it is noted.
lay_link() {
    if [ "$shared" ]; then
        lower=vs${tap#vm}
        echo "$lower" >>"$dir/cards"
        pair "$lower" "$bridge" shared || return 1
    else
        guests_link || return 1
        echo "$tap $lower$own" >>"$dir/cards"
    fi
    ip link add link "$lower" name "$tap" type macvtap || return 1
    echo 1 >"/proc/sys/net/ipv6/conf/$tap/disable_ipv6"
}

# The link that all guests of `bridge` have in common, in `lower`; the first of them makes it.
guests_link() {
    read -r index <"/sys/class/net/$bridge/ifindex" && lower=guests$index
    if [ ! -e "/sys/class/net/$lower" ] && pair "$lower" "$bridge" guests 2>/dev/null; then
        reached "$lower"
    fi
    await "$lower" 10
}

# is_host_s LINK: whether it has the address of the host's own.
is_host_s() {
    read -r address <"/sys/class/net/$1/address"
    [ ! -e "/sys/class/net/$INTERFACE" ] || read -r mine <"/sys/class/net/$INTERFACE/address"
    [ "$address" = "${mine-}" ]
}

# filter add|del LINK: what a card may send, where the image looks at that. A shared card may all.
filter() {
    [ -x "$FILTER" ] && [ -z "$shared" ] || return 0
    read -r address <"/sys/class/net/$2/address"
    # shellcheck disable=SC2086 # one word for each address
    "$FILTER" "$1" "$lower" "$address" $own
}

drop_cards() {
    [ -e "$dir/cards" ] || return 0
    while read -r link lower own; do
        [ -e "/sys/class/net/$link" ] || continue
        # the line of a shared card names no link that it has in common with others
        shared=yes
        [ -z "$lower" ] || shared=''
        filter del "$link"
        ip link del "$link"
    done <"$dir/cards"
    rm -f "$dir/cards"
}

# find_card NUMBER: its device's number in `index`, its address in `address`.
find_card() {
    card_link=/sys/class/net/vm$((uid - USERS))-$1
    [ -e "$card_link" ] || die "card $1 was not made"
    read -r index <"$card_link/ifindex"
    read -r address <"$card_link/address"
}

# The cards' devices as open files, from 3 on: opened where the host's network is.
open_cards() {
    card=0
    while [ "$card" -lt "$cards" ]; do
        find_card "$card"
        eval "exec $((card + 3))<>/dev/tap$index"
        card=$((card + 1))
    done
}
