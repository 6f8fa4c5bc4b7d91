# shellcheck shell=sh
# The part of 30-network that the DHCP client runs at every event: what a lease says is a stranger's text.
# udhcpc gives it as variables (ip, subnet, router …), the interface among them.
ip=${ip-} interface=${interface-}

# plain TEXT: its printable characters, 80 at most, for the console.
plain() {
    printf '%s' "$*" | tr -cd ' -~' | cut -c 1-80
}

# note TEXT: what is not taken as it is offered; once, not at each renewal of the same lease.
note() {
    [ "$offer" = "$offer_before" ] || say dhcp "$1"
}

# attempt WHAT COMMAND…: an error of the command is said.
attempt() {
    what=$1
    shift
    error=$("$@" 2>&1) && return 0
    say dhcp "FAILED: $what: $(plain "$error")"
    return 1
}

# to_number ADDRESS: four numbers up to 255 as one, in `number`.
to_number() {
    case $1 in *[!0-9.]* | *.*.*.*.* | .* | *.) return 1 ;; *.*.*.*) ;; *) return 1 ;; esac
    set -- "${1%%.*}" "${1#*.}"
    set -- "$1" "${2%%.*}" "${2#*.}"
    set -- "$1" "$2" "${3%%.*}" "${3#*.}"
    number=0
    for part; do
        case $part in '' | 0?* | ????*) return 1 ;; esac
        [ "$part" -le 255 ] || return 1
        number=$((number << 8 | part))
    done
}

# is_address TEXT: one that a single machine can have.
is_address() {
    to_number "$1" && [ "$number" -ge $((1 << 24)) ] && [ "$number" -lt $((224 << 24)) ] &&
        [ $((number >> 24)) -ne 127 ]
}

# addresses WHAT WORDS: those of the words that are addresses, each with a space behind it; the others are said.
addresses() {
    for word in $2; do
        if is_address "$word"; then
            printf '%s ' "$word"
        else
            note "$1 left out: $(plain "$word") is no address"
        fi
    done
}

# by_class ADDRESS: the length of its prefix, in `bits`, when nobody says it. Source: RFC 791, 3.2.
by_class() {
    to_number "$1"
    bits=24
    [ $((number >> 24)) -ge 192 ] || bits=16
    [ $((number >> 24)) -ge 128 ] || bits=8
}

# to_bits MASK: the length of the prefix, in `bits`.
to_bits() {
    to_number "$1" && [ "$number" -ne 0 ] || return 1
    bits=0
    while [ $((number >> 31)) -eq 1 ]; do
        number=$((number << 1 & 0xffffffff)) bits=$((bits + 1))
    done
    [ "$number" -eq 0 ]
}

# to_net ADDRESS BITS: the network that it lies in, in `net`.
to_net() {
    to_number "$1"
    number=$((number & 0xffffffff << 32 - $2 & 0xffffffff))
    net=$((number >> 24)).$((number >> 16 & 255)).$((number >> 8 & 255)).$((number & 255))/$2
}

set_address() {
    if ! is_address "$ip"; then
        note "FAILED: the server's lease is for $(plain "$ip"), which is no address"
        return 1
    fi
    if ! to_bits "${subnet-}"; then
        by_class "$ip"
        note "the lease has no mask of a network, its class says /$bits"
    fi
    address=$ip/$bits
    had=
    [ ! -e "$STATE/lease" ] || read -r had <"$STATE/lease"
    [ "$had" != "$address" ] || return 0
    [ -z "$had" ] || attempt "removing $had" ip addr del "$had" dev "$interface"
    set --
    if [ "$bits" -lt 31 ]; then
        set -- broadcast +
        ! to_number "${broadcast-}" || set -- broadcast "$broadcast"
    fi
    attempt "address $address" ip addr add "$address" "$@" dev "$interface"
}

# Larger frames must fit through the bridge and its card, too. Below 1280 the kernel drops IPv6. What the
# link had before a lease is kept for one that says nothing.
set_mtu() {
    usual=1500 now=1500 bytes=${mtu-}
    [ ! -e "$STATE/mtu" ] || read -r usual now <"$STATE/mtu"
    [ ! -e "/sys/class/net/$interface/mtu" ] || read -r now <"/sys/class/net/$interface/mtu"
    [ -e "$STATE/mtu" ] || usual=$now
    case $bytes in
    '') bytes=$usual ;;
    0* | *[!0-9]* | ??????*) bytes=0 ;;
    esac
    if [ "$bytes" -lt 68 ] || [ "$bytes" -gt 65535 ]; then
        note "mtu left out: $(plain "$mtu") is not in 68..65535"
        bytes=$usual
    elif [ "$bytes" -lt 1280 ]; then
        note "mtu $bytes is less than IPv6 needs: 1280"
        bytes=1280
    fi
    [ "$now" -ne "$bytes" ] || return 0
    [ "$bytes" -le "$now" ] || grow_ports
    attempt "mtu $bytes" ip link set "$interface" mtu "$bytes" || return 0
    echo "$usual $bytes" >"$STATE/mtu"
    say dhcp "mtu $bytes"
}

grow_ports() {
    set +f
    for port in /sys/class/net/"$BRIDGE"/brif/*; do
        port=${port##*/}
        [ "$port" != '*' ] && read -r now <"/sys/class/net/$port/mtu" && [ "$now" -lt "$bytes" ] || continue
        attempt "mtu $bytes of $port" ip link set "$port" mtu "$bytes"
    done
    set -f
}

# want NET/BITS GATEWAY: one route more in `routes_wanted`; the first one to a network counts. The host itself
# as gateway means, as 0.0.0.0 does, that the network lies on the link.
want() {
    [ "$2" != "$ip" ] || set -- "$1" 0.0.0.0
    bits=${1#*/}
    case $bits in '' | *[!0-9]* | ???*) bits=33 ;; esac
    if ! to_number "${1%/*}" || [ "$bits" -gt 32 ] || { [ "$bits" -ge 8 ] && ! is_address "${1%/*}"; } ||
        { [ "$2" != 0.0.0.0 ] && ! is_address "$2"; }; then
        note "route left out: $(plain "$1 by $2")"
        return 0
    fi
    to_net "${1%/*}" "$bits"
    case "$net $2,$routes_wanted" in
    "$own "* | *",$net "*) return 0 ;;
    "$net 0.0.0.0",*) routes_wanted=",$net $2$routes_wanted" ;;
    *) routes_wanted="$routes_wanted$net $2," ;;
    esac
}

# Source: RFC 3442: with option 121 options 3 and 33 count for nothing. RFC 2132, 3.5: the first router is
# the one that the server prefers; 5.8: option 33 has no masks.
# shellcheck disable=SC2086 # one word for each route, and set -f is on
choose_routes() {
    routes_wanted=,
    to_net "$ip" "${address#*/}"
    own=$net
    set -- ${staticroutes-}
    if [ $# -gt 0 ]; then
        while [ $# -gt 1 ]; do
            want "$1" "$2"
            shift 2
        done
        case $routes_wanted in *",0.0.0.0/0 ${router%% *},"*) ;; *) [ -z "${router-}" ] || not_taken "router $router" ;; esac
        [ -z "${routes-}" ] || not_taken "routes $routes"
        return 0
    fi
    for pair in ${routes-}; do
        ! to_number "${pair%/*}" || by_class "${pair%/*}"
        want "${pair%/*}/$bits" "${pair#*/}"
    done
    set -- ${router-}
    [ $# -eq 0 ] || want 0.0.0.0/0 "$1"
    [ $# -lt 2 ] || note "routers beside the first left out: $(plain "$*")"
}

not_taken() {
    note "$(plain "$1") left out: the lease has classless routes"
}

# route VERB NET GATEWAY
route() {
    if [ "$3" = 0.0.0.0 ]; then
        ip route "$1" "$2" dev "$interface" scope link
    else
        ip route "$1" "$2" via "$3" dev "$interface"
    fi
}

# A gateway that lies in no network of this link (a lease of /32) is reached over a route to itself.
set_route() {
    if [ "$2" != 0.0.0.0 ] && ! route replace "$1" "$2" 2>/dev/null; then
        attempt "route to $2" route replace "$2/32" 0.0.0.0 && echo "$2/32 0.0.0.0"
    fi
    attempt "route to $1 by $2" route replace "$1" "$2" && echo "$1 $2"
}

# What is no longer wanted goes first.
set_routes() {
    choose_routes
    [ -e "$STATE/routes" ] || : >"$STATE/routes"
    while read -r net gateway; do
        case $routes_wanted in
        *",$net $gateway,"*) ;;
        *) route del "$net" "$gateway" 2>/dev/null ;;
        esac
    done <"$STATE/routes"
    IFS=,
    for pair in $routes_wanted; do
        unset IFS
        [ -z "$pair" ] || set_route "${pair% *}" "${pair#* }"
    done >"$STATE/routes"
}

# names WORDS: those that can be names of domains; the others are said.
names() {
    for word in $1; do
        case $word in
        bad) note 'domain left out: the client found characters in it that no name has' ;;
        *[!A-Za-z0-9._-]* | -* | .* | *..*) note "domain left out: $(plain "$word")" ;;
        *) printf ' %.253s' "$word" ;;
        esac
    done
}

# The list of option 119 counts before the one name of option 15.
write_servers() {
    search=$(names "${search:-${domain-}}")
    {
        [ -z "$search" ] || echo "search$search"
        for server in $(addresses 'name server' "${dns-}"); do
            echo "nameserver $server"
        done
    } >/run/resolv.conf.new
    mv /run/resolv.conf.new /run/resolv.conf
    servers=$(addresses 'time server' "${ntpsrv-}")
    before=
    [ ! -e /run/ntp-servers ] || IFS='' read -r before </run/ntp-servers
    echo "$servers" >/run/ntp-servers
    # services/time starts it again, with what is in the file now
    if [ "$before" != "$servers" ] && [ -e "$STATE/ntpd" ] && read -r process <"$STATE/ntpd"; then
        kill "$process"
    fi
}

# Where one image is for many machines, its name is none of theirs: theirs is in NAME, or nothing is.
take_own_name() {
    [ ! -e /usr/lib/minbuild/credentials ] || take NAME hostname || NAME=
}

# A name that the manifest gives stays; without one (hostname: "" or localhost) the network's is taken.
take_name() {
    take_own_name
    case ${hostname:-$NAME} in
    "$NAME") ;;
    bad) note 'host name left out: the client found characters in it that no name has' ;;
    *[!A-Za-z0-9.-]* | -* | .*) note "host name left out: $(plain "$hostname")" ;;
    *)
        if [ -n "$NAME" ] && [ "$NAME" != localhost ]; then
            note "host name $(plain "$hostname") left out: the manifest says $NAME"
        else
            printf '%.64s' "$hostname" >/proc/sys/kernel/hostname
        fi
        ;;
    esac
}

take_lease() {
    offer="$ip ${subnet-} ${broadcast-};${mtu-};${staticroutes-};${routes-};${router-}"
    offer="$offer;${dns-};${search-};${domain-};${ntpsrv-};${hostname-}"
    offer_before=
    [ "$1" = bound ] || [ ! -e "$STATE/offer" ] || offer_before=$(cat "$STATE/offer")
    printf '%s' "$offer" >"$STATE/offer"
    if ! set_address; then
        # the client would be content with it for as long as the lease says: it starts anew, and asks again
        kill "$PPID"
        return 1
    fi
    is_address "${serverid-}" || serverid='a server without an address'
    [ "$1 $had" = "renew $address" ] || say dhcp "lease $address on $interface from $serverid"
    set_mtu
    set_routes
    write_servers
    take_name
    echo "$address" >"$STATE/lease"
}

lose_lease() {
    [ -e "$STATE/lease" ] || return 0
    read -r had <"$STATE/lease"
    say dhcp "lease lost on $interface"
    lost lease
    rm -f "$STATE/routes"
    attempt "removing $had" ip addr del "$had" dev "$interface"
}
