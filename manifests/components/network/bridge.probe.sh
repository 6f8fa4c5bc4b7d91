# shellcheck shell=sh
# The part of 30-network that asks for the name and the address that /data/probe.conf gives, once; nothing
# in it is run.

# value KEY: what probe.conf says for KEY, only if it is letters, digits, dots, colons and dashes.
value() {
    sed -n "s/^$1=\([A-Za-z0-9.:-]\{1,253\}\)\$/\1/p" /data/probe.conf | head -n 1
}

check_dns() {
    tries=10
    while [ "$tries" -gt 0 ]; do
        address=$(nslookup "$1" 2>/dev/null | awk '/^Name:/ {found = 1} found && /^Address/ {print $NF; exit}')
        if [ -n "$address" ]; then
            say dns "$1 is $address"
            return 0
        fi
        tries=$((tries - 1))
        nap 1
    done
    say dns "FAILED: no address for $1"
    return 1
}

# One line is sent, the first line of the answer is shown: a round trip of data.
check_tcp() {
    tries=10
    while [ "$tries" -gt 0 ]; do
        answer=$(echo minbuild | timeout 5 nc -w 3 "${1%:*}" "${1##*:}" 2>/dev/null | head -n 1)
        if [ -n "$answer" ]; then
            say tcp "$1 answered $(echo "$answer" | tr -cd 'A-Za-z0-9 ._:/-' | cut -c 1-80)"
            return 0
        fi
        tries=$((tries - 1))
        nap 1
    done
    say tcp "FAILED: no answer from $1"
    return 1
}

check() {
    await data-settled 600
    [ -f /data/probe.conf ] && [ ! -L /data/probe.conf ] || return 0
    name=$(value dns)
    server=$(value tcp)
    [ -n "$name$server" ] || return 0
    if ! await lease 60; then
        say dns 'FAILED: no lease'
        return 1
    fi
    status=0
    if [ -n "$name" ] && [ -x /usr/bin/nslookup ]; then check_dns "$name" || status=1; fi
    if [ -n "$server" ] && [ -x /usr/bin/nc ]; then check_tcp "$server" || status=1; fi
    return "$status"
}
