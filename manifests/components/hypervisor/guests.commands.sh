# shellcheck shell=sh
# The part of vm that a person, or init, calls.

is_running() {
    [ -e "$RUN/$1/pid" ] && kill -0 "$(cat "$RUN/$1/pid" 2>/dev/null)" 2>/dev/null
}

need_guest() {
    [ -n "${1-}" ] || die 'which guest? see vm list'
    read_conf "$1" || exit 1
    dir=$RUN/$1
}

# A guest that runs can be stopped whatever became of its file.
need_running() {
    [ -n "${1-}" ] || die 'which guest? see vm list'
    need_name "$1"
    dir=$RUN/$1
    is_running "$1" && return 0
    [ -f "$GUESTS/$1/guest.conf" ] || die "no guest $1: $GUESTS/$1/guest.conf is not there (vm list)"
    die "$1 is not running: vm start $1"
}

# Directories with a name that can be one, and a file that may be: a line for each.
names() {
    [ ! -L "$GUESTS" ] || return 0
    for entry in "$GUESTS"/*/guest.conf; do
        entry=${entry%/guest.conf}
        ! is_name "${entry##*/}" || printf '%s\n' "${entry##*/}"
    done
}

say_strange() {
    [ ! -L "$GUESTS" ] || say guests "FAILED: $GUESTS is a link"
    strange=0
    links=0
    for entry in "$GUESTS"/*; do
        if [ -L "$entry" ]; then
            links=$((links + 1))
        elif [ -e "$entry/guest.conf" ]; then
            is_name "${entry##*/}" || strange=$((strange + 1))
        fi
    done
    [ "$links" -eq 0 ] || say guests "FAILED: $links links, and a guest is a directory"
    [ "$strange" -eq 0 ] || say guests "FAILED: $strange with a name of other characters than letters, digits, - and _, or longer than 32"
}

# Root alone looks in here.
make_run() {
    [ -d "$RUN/.users" ] || (umask 077 && mkdir -p "$RUN/.users")
}

start_one() {
    need_guest "$1"
    ! is_running "$1" || die "$1 is already running"
    need_room
    make_run && mkdir -p "$dir" && rm -f "$dir/pid" "$dir/stopping"
    setsid /usr/bin/vm supervise "$1" </dev/null >/dev/null 2>&1 &
    echo $! >"$dir/pid"
}

stop_one() {
    need_running "$1"
    left=$(read_conf "$1" >/dev/null 2>&1 && echo "$stop_wait")
    left=${left:-30}
    : >"$dir/stopping"
    press_button
    while is_running "$1" && [ "$left" -gt 0 ]; do
        nap 1
        left=$((left - 1))
    done
    ! is_running "$1" || kill_one "$1"
}

kill_one() {
    need_running "$1"
    : >"$dir/stopping"
    pull_plug
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        is_running "$1" || return 0
        nap 0.2
    done
    name=$1 && clear_up
    rm -f "$dir/pid"
}

list_all() {
    printf '%-24s %-8s %5s %8s %6s\n' NAME STATE CPUS MEMORY PID
    for name in $(names); do
        state=stopped pid=-
        ! is_running "$name" || state=waiting
        [ "$state" = stopped ] || ! pid=$(number_of "$name") || state=running
        read_conf "$name" 2>/dev/null || state=mistaken
        printf '%-24s %-8s %5s %8s %6s\n' "$name" "$state" "$cpus" "$memory" "${pid:--}"
    done
}

status_one() {
    need_guest "$1"
    state=stopped
    ! is_running "$1" || state=running
    printf '%s=%s\n' name "$1" state "$state" cpus "$cpus" memory "$memory" autostart "$autostart" \
        restart "$restart" pid "$(number_of "$1")" disks "${disks# }" nets "${nets# }"
}

show_log() {
    need_guest "$1"
    [ -f "$dir/console.log" ] || die "$1 has not run since the host started"
    # no character that a terminal obeys: ^[ stands for the escape character
    tr -d '\r' <"$dir/console.log" | cat -v
}

start_all() {
    make_run
    say_strange
    for name in $(names); do
        (read_conf "$name" && { [ "$autostart" = no ] || start_one "$name"; }) 2>"$RUN/.errors" ||
            say "guest $name" "FAILED: $(sed -n 's/^vm: error: //p' "$RUN/.errors" | head -n 1 | plain)"
    done
}

stop_all() {
    for name in $(names); do
        ! is_running "$name" || (stop_one "$name") &
    done
    wait
}

at_boot() {
    prepare_host
    prepared=$?
    if await data-settled 600 && [ -e "${STATE:?}/data" ]; then
        await network 30
        # what makes more bridges is waited for: guests may be on them
        for more in bridges nat; do
            [ ! -e "$STEPS/35-$more" ] || await "$more" 30
        done
        start_all
    fi
    say guests "$(names | wc -l) found on the data partition"
    return "$prepared"
}

take_guests
[ "${0##*/}" != 90-guests ] || case $1 in
start) at_boot && exit 0 || exit 1 ;;
stop) stop_all && exit 0 || exit 1 ;;
esac

[ $# -le 2 ] || [ "$1" = memory ] || die "one guest at a time: $*"
case ${1-} in
'') usage ;;
list) list_all ;;
start) if [ -n "${2-}" ]; then start_one "$2"; else start_all; fi ;;
stop) if [ -n "${2-}" ]; then stop_one "$2"; else stop_all; fi ;;
kill) kill_one "${2-}" ;;
status) status_one "${2-}" ;;
log) show_log "${2-}" ;;
console) need_running "${2-}" && open_console ;;
supervise) name=$2 dir=$RUN/$2 && supervise ;;
*)
    ! own_command "$@" || exit 0
    usage >&2
    die "there is no command $1"
    ;;
esac
