# shellcheck shell=sh
# The part of vm that keeps a guest running, whatever runs it: `run_once` and `cut_off` are the driver's.

# Who writes the log appends to it, QEMU and xenconsoled alike: what was cut stays cut. Where the file lies
# elsewhere, console.log is a link to it, which stays.
shorten_log() {
    tail -c 262144 "$dir/console.log" >"$dir/console.log.old"
    : >"$dir/console.log"
}

# is_ready: whether what came since has the text; its line is in `text`, which need not be a whole one. No
# program is started for it: under emulation each takes 50 ms, and this is asked three times a second.
is_ready() {
    while IFS= read -r line <&7; do
        text=$text$line
        case $text in *"$ready"*) return 0 ;; esac
        text=
    done
    text=$text$line
    case $text in *"$ready"*) return 0 ;; esac
    return 1
}

# The ready line is looked for, and the console's log kept below its limit. A guest whose directory is gone
# can be neither stopped nor told of: it ends. $$ is the process that keeps the guest, in here too.
watch() {
    text=
    pause=0.3
    rounds=0
    [ -n "$ready" ] || pause=5
    exec 7<"$dir/console.log"
    while nap "$pause" && kill -0 $$; do
        if [ ! -d "$dir" ]; then
            say "guest $name" "FAILED: $dir was removed, so the guest is ended"
            cut_off
            break
        fi
        if [ "$pause" != 5 ] && is_ready; then
            say "guest $name" "ready: $(echo "$text" | plain)"
            pause=5
        fi
        rounds=$((rounds + 1))
        [ "$pause" = 5 ] || [ $((rounds % 16)) -eq 0 ] || continue
        if [ "$(wc -c <"$dir/console.log")" -gt "$LOG_LIMIT" ]; then
            shorten_log
            text=
            exec 7<"$dir/console.log"
        fi
    done
}

supervise() {
    # also when a person started the guest, whose own processes may be killed
    echo -1000 >/proc/self/oom_score_adj
    pause=1
    while [ -d "$dir" ] && read_conf "$name" 2>"$dir/errors"; do
        seconds
        from=${now:?}
        run_once
        if [ -e "$dir/stopping" ] || [ "$restart" = no ]; then break; fi
        seconds
        [ $((now - from)) -le 60 ] || pause=1
        say "guest $name" "ended (status $status), again in $pause s: $(last_words)"
        nap "$pause"
        [ ! -e "$dir/stopping" ] || break
        pause=$((pause < 32 ? pause * 2 : 60))
    done
    [ ! -s "$dir/errors" ] || say "guest $name" "FAILED: $(sed -n 's/^vm: error: //p' "$dir/errors" | head -n 1 | plain)"
    say "guest $name" "stopped (status ${status-1})"
    rm -f "$dir/pid"
}
