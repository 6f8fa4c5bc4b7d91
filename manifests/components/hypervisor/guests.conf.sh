# shellcheck shell=sh
# The part of vm that reads guest.conf: key=value, one a line; every mistake is reported with its line.

mistake() {
    printf 'vm: error: %s:%s: %s\n' "$conf" "$number" "$*" | plain >&2
    mistakes=$((mistakes + 1))
}

need_number() {
    case $value in
    '' | *[!0-9]* | ???????*) mistake "$key=$value is not a number" ;;
    # the shell counts by eights then
    0?*) mistake "$key=$value begins with 0" ;;
    *) { [ "$value" -ge "$1" ] && [ "$value" -le "$2" ]; } || mistake "$key=$value is not in $1..$2" ;;
    esac
}

need_yes_or_no() {
    case $value in yes | no) ;; *) mistake "$key=$value is neither yes nor no" ;; esac
}

# Whoever writes the data partition chooses every name on it. So a guest's file is a regular file of its
# own directory or of a place that the image allows, under one name alone and without a link on the way;
# a block device is allowed by its own name. `hold` looks again at what was opened.

is_allowed() {
    for place in $ALLOWED; do
        case $1 in "$place" | "$place"/*) return 0 ;; esac
    done
    return 1
}

# has_link PATH: a link stands on the way, or at its end.
has_link() {
    way=
    rest=${1#/}/
    while [ "$rest" ]; do
        way=$way/${rest%%/*}
        rest=${rest#*/}
        [ ! -L "$way" ] || return 0
    done
    return 1
}

# A path in the guest's directory, or an absolute one. QEMU would take a comma for an option.
need_file() {
    path=$1
    case $1 in
    '' | *[!A-Za-z0-9._/+-]*)
        mistake "$key=$1 has characters that a path here must not have"
        return 0
        ;;
    /*) ;;
    *) path=$GUESTS/$name/$1 ;;
    esac
    case $path/ in
    *//* | */./* | */../*) mistake "$key=$1: a path here has no . and no .. in it" ;;
    "$conf"/) mistake "$key=$1 is what the host reads" ;;
    "$GUESTS/$name"/*) need_plain_file ;;
    *)
        if is_allowed "$path"; then
            need_plain_file
        else
            mistake "$key: $path is neither below $GUESTS/$name nor in the image's guest_files"
        fi
        ;;
    esac
}

need_plain_file() {
    if has_link "$path"; then
        mistake "$key: $path is reached by a link: name the file itself"
        return 0
    fi
    case $(stat -c '%F:%h' "$path" 2>/dev/null) in
    'regular '*:1) ;;
    'regular '*) mistake "$key: $path has a second name (a hard link): copy it" ;;
    'block special file:'*) is_allowed_device "$path" || mistake "$key: $path is not in the image's guest_files" ;;
    '') mistake "$key: $path is not there" ;;
    *) mistake "$key: $path is no regular file" ;;
    esac
}

# A device is named itself: that its directory is allowed is not enough.
is_allowed_device() {
    case " $ALLOWED " in *" $1 "*) ;; *) return 1 ;; esac
}

read_disk() {
    need_file "${value%%,*}"
    format=raw
    case $path in *.qcow2) format=qcow2 ;; esac
    readonly=off
    case $value in
    *,ro) readonly=on ;;
    *,*) mistake "disk=$value: after the comma only ro" ;;
    esac
    case $path:$readonly in
    "$GUESTS/$name"/* | /dev/* | *:on) ;;
    *) ! is_allowed "$path" || mistake "disk=$value: what guests share is read-only (disk=$path,ro)" ;;
    esac
    [ ! -f "$path" ] || need_format
    disks="$disks file=$path,format=$format,readonly=$readonly"
    disk_count=$((disk_count + 1))
    [ "$disk_count" -ne 25 ] || mistake 'more than 24 disks'
}

# The shell opens a card's device as a file of one digit, from 3 on.
read_net() {
    two='[0-9A-Fa-f][0-9A-Fa-f]' cards=$((cards + 1))
    split_net "$value"
    case $bridge in
    '' | *[!A-Za-z0-9._-]*) mistake "net=$value names no bridge" ;;
    *) [ -d "/sys/class/net/$bridge/bridge" ] || mistake "net: no bridge $bridge" ;;
    esac
    case $address in
    '' | [0-9A-Fa-f][02468ACEace]:$two:$two:$two:$two:$two) ;;
    *) mistake "net=$value is not BRIDGE or BRIDGE,MAC, with IPv4 addresses and ,shared behind it" ;;
    esac
    [ -z "$own" ] || need_filter
    [ "$cards" -le 7 ] || mistake "net=$value: more than 7 cards"
    nets="$nets $value"
}

# split_net BRIDGE[,MAC][,IPV4]…[,shared]: into `bridge`, `address`, `own` and `shared`.
split_net() {
    bridge=${1%%,*} address='' own='' shared=''
    rest=${1#"$bridge"}
    while [ -n "$rest" ]; do
        rest=${rest#,}
        word=${rest%%,*}
        rest=${rest#"$word"}
        # what stands in a wrong place makes no address
        case $word in
        shared) shared=yes address=$address${rest:+/} ;;
        *[!0-9.]* | '') address=$address${own:+/}${word:-/} ;;
        *) own="$own $word" ;;
        esac
    done
}

# mac NUMBER: the address of a card that names none, which stays for the guest's name and the card's number.
mac() {
    echo "$name/$1" | md5sum | sed "s/^\(..\)\(..\)\(..\).*/${MAC_RANGE:?}:\1:\2:\3/"
}

read_key() {
    case $key in
    machine) need_machine && machine=$value ;;
    cpus) need_number 1 64 && cpus=$value ;;
    memory) need_number 8 999999 && memory=$value ;;
    kernel) need_readable "$value" && kernel=$path ;;
    initrd) need_readable "$value" && initrd=$path ;;
    firmware) read_firmware ;;
    cmdline) read_cmdline ;;
    disk) read_disk ;;
    net) read_net ;;
    autostart) need_yes_or_no && autostart=$value ;;
    restart) need_yes_or_no && restart=$value ;;
    stop-wait) need_number 0 3600 && stop_wait=$value ;;
    ready) ready=$value ;;
    *) read_own_key || mistake "unknown key $key (known: $KEYS)" ;;
    esac
}

is_name() {
    case $1 in '' | *[!A-Za-z0-9_-]* | ?????????????????????????????????*) return 1 ;; esac
}

need_name() {
    is_name "$1" || die "$1 is no name for a guest"
}

# The file itself: small, regular, and reached without a link.
need_conf() {
    if [ ! -e "$conf" ] && [ ! -L "$conf" ]; then
        complain "no guest $name: $conf is not there (vm list)"
    elif has_link "$conf"; then
        complain "$conf is reached by a link"
    elif [ ! -f "$conf" ]; then
        complain "$conf is no regular file"
    elif [ "$(stat -c %s "$conf")" -gt 65536 ]; then
        complain "$conf is larger than 64 KiB"
    fi
}

# read_conf NAME: its settings as variables; 1 when there are mistakes.
read_conf() {
    name=$1 conf=$GUESTS/$1/guest.conf number=0 mistakes=0
    # shellcheck disable=SC2034 # not every driver has firmware, or more than one machine
    machine=$MACHINE cpus=1 memory=256 kernel='' initrd='' firmware='' cmdline=$CMDLINE
    forget_own_keys
    disks='' nets='' autostart=yes restart=yes stop_wait=30 ready='' cards=0 disk_count=0
    need_name "$name"
    need_conf || return 1
    while IFS= read -r line || [ -n "$line" ]; do
        number=$((number + 1))
        case $line in
        '' | '#'*) continue ;;
        *=*) key=${line%%=*} value=${line#*=} && read_key ;;
        *) mistake "not key=value: $line" ;;
        esac
    done <"$conf"
    need_start
    [ "$mistakes" -eq 0 ]
}

# hold FD MODE PATH: the file opened, and the descriptor asked what it is: nothing that came between the
# look at a name and its opening is of use. The shell's words for a failure are the message.
hold() {
    case $2 in
    off) eval "exec $1<>\"\$3\"" ;;
    *) eval "exec $1<\"\$3\"" ;;
    esac
    [ "$(readlink "/proc/self/fd/$1")" = "$3" ] || die "$3 is another file now"
    case $(stat -L -c '%F:%h' "/proc/self/fd/$1") in
    'regular '*:1) ;;
    'block special file:'*) is_allowed_device "$3" || die "$3 is a device now" ;;
    *) die "$3 is no regular file now, or has a second name" ;;
    esac
}
