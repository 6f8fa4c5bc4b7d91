# shellcheck shell=sh
# What `update` does; the values above are the image's.
# On the ESP: EFI/Linux/NAME_VERSION[+LEFT[-DONE]].efi, at most two and a NAME_VERSION.part; minbuild/ with
# NAME_VERSION.recipe, `newest` (the highest version that was fetched), `why` (what was not healthy) and
# `guests` (which were running). FAT: a file is on the disk after sync FILE and sync DIRECTORY, which
# flush the disk's cache; sync -f and umount do not. A rename within EFI/Linux is one sector's write.
# shellcheck disable=SC2153,SC2154 # the values come before this
LOADER=4a67b082-0a4c-41cf-b6c7-440b29bb8c4f
LINUX=$ESP/EFI/Linux
KEPT=$ESP/minbuild
LARGEST=2147483648

tell() {
    echo "update: $*"
}

die() {
    echo "update: error: $1" >&2
    say update "FAILED: $1"
    [ ! -e "$WORK/mounted" ] || close_esp
    exit 1
}

# loader NAME: a variable of systemd-boot: UTF-16 behind four bytes of attributes.
loader() {
    dd if="$VARS/$1-$LOADER" bs=4 skip=1 2>/dev/null | tr -d '\000'
}

open_esp() {
    mkdir -p "$ESP" "$WORK"
    esp_device=$(findfs LABEL=MINBUILD) || die 'no ESP has the label MINBUILD'
    mount -t vfat -o "$1,noatime,nodev,nosuid,noexec,umask=077" "$esp_device" "$ESP" || die "cannot mount $esp_device"
    : >"$WORK/mounted"
    [ "$1" = ro ] || mkdir -p "$LINUX" "$KEPT"
}

close_esp() {
    [ ! -d "$LINUX" ] || sync "$LINUX"
    rm -f "$WORK/mounted"
    umount "$ESP"
}

# settle_name FROM TO: a rename that is on the disk when this returns.
settle_name() {
    mv -f "$1" "$2" && sync "$2" "$LINUX"
}

# write_kept NAME: stdin as a file of minbuild/, whole or not at all.
write_kept() {
    cat >"$KEPT/$1.new" && sync "$KEPT/$1.new" && mv -f "$KEPT/$1.new" "$KEPT/$1" && sync "$KEPT/$1" "$KEPT"
}

read_kept() {
    kept=
    [ ! -e "$KEPT/$1" ] || read -r kept <"$KEPT/$1" || :
}

# parse FILE: of a version on the ESP, in `file_version`, `tries` (empty: it is good) and `stem`.
parse() {
    stem=${1##*/}
    stem=${stem%.efi}
    tries=
    case $stem in *+*) tries=${stem#*+} tries=${tries%%-*} ;; esac
    stem=${stem%%+*}
    file_version=${stem##*_}
    case $stem in "$NAME"_*) ;; *) return 1 ;; esac
    is_number "$file_version"
}

is_number() {
    case $1 in '' | *[!0-9]* | ????????????????*) return 1 ;; esac
}

# find_file VERSION: its file on the ESP, in `found`.
find_file() {
    for found in "$LINUX/${NAME}_$1.efi" "$LINUX/${NAME}_$1"+*.efi; do
        [ ! -e "$found" ] || return 0
    done
    found=
    return 1
}

# The version that runs has no counter: it was found good, now or before.
is_judged() {
    [ -e "$LINUX/${NAME}_$VERSION.efi" ]
}

# objects FILE: each object one level below the top of a JSON document, on a line of its own.
objects() {
    tr '\n' ' ' <"$1" | awk '{
        for (i = 1; i <= length($0); i++) {
            c = substr($0, i, 1)
            if (quoted) { if (c == "\\") { out = out c; i++; c = substr($0, i, 1) } else if (c == "\"") quoted = 0 }
            else if (c == "\"") quoted = 1
            else if (c == " ") continue
            else if (c == "{") { depth++; if (depth == 2) out = "" }
            else if (c == "}") { depth--; if (depth == 1) print out }
            out = out c
        }
    }'
}

# digest_in LINE: the SHA-256 that an object names, in `digest`.
digest_in() {
    digest=$(printf '%s\n' "$1" | sed -n 's/.*"digest":"sha256:\([0-9a-f]\{64\}\)".*/\1/p')
    [ "$digest" ]
}

# get FILE LIMIT ADDRESS…: a file of at most LIMIT bytes, the rest of it if a part is there.
get() {
    get_file=$1 get_limit=$2
    shift 2
    for get_try in 1 2 3 4 5; do
        (
            ulimit -f $((get_limit / 512 + 1))
            timeout -s KILL 3600 wget -q -c -T 60 -O "$get_file" \
                --header 'Accept: application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json' "$@"
        ) 2>/dev/null && return 0
        [ "$get_try" -lt 5 ] || break
        nap "$get_try"
    done
    return 1
}

has_digest() {
    [ -e "$1" ] && [ "$(sha256sum <"$1" | cut -d' ' -f1)" = "$2" ]
}

# get_blob DIGEST FILE LIMIT: a content, which has that digest.
get_blob() {
    case $FROM in */v2/*) blob=$FROM/blobs/sha256:$1 ;; *) blob=$FROM/blobs/sha256/$1 ;; esac
    ! has_digest "$2" "$1" || return 0
    get "$2" "$3" "$blob" || die "$FROM withholds $1"
    if ! has_digest "$2" "$1"; then
        rm -f "$2"
        die "$FROM lies: it gives other bytes than $1"
    fi
}

# get_document DIGEST|tag NAME FILE: a manifest or index.
get_document() {
    rm -f "$3"
    case $FROM in
    */v2/*)
        document=$2
        [ "$1" = tag ] || document=sha256:$1
        get "$3" 4194304 "$FROM/manifests/$document" || die "$FROM has no $document"
        [ "$1" = tag ] || has_digest "$3" "$1" || die "$FROM lies: it gives another manifest than $1"
        ;;
    *) get_blob "$1" "$3" 4194304 ;;
    esac
}

# list_referrers DIGEST: what refers to a manifest, an object a line.
list_referrers() {
    rm -f "$WORK/referrers"
    case $FROM in
    */v2/*)
        wget -q -T 60 -O "$WORK/referrers" "$FROM/referrers/sha256:$1" 2>/dev/null ||
            get "$WORK/referrers" 4194304 "$FROM/manifests/sha256-$1" || die "$FROM withholds the signature"
        objects "$WORK/referrers"
        ;;
    *) objects "$WORK/index.json" ;;
    esac | grep 'vnd.minbuild.signature.v1'
}

# find_recipe: the newest recipe that is offered, in $WORK/recipe; nothing of it is believed yet.
find_recipe() {
    [ "$FROM" ] || die 'the image says nothing of where updates are (update_from)'
    mkdir -p "$WORK"
    rm -f "$WORK/index.json" "$WORK/recipe"
    case $FROM in
    */v2/*) get_document tag "$TAG" "$WORK/index" ;;
    *)
        get "$WORK/index.json" 4194304 "$FROM/index.json" || die "$FROM does not answer"
        digest_in "$(objects "$WORK/index.json" | grep -F "\"org.opencontainers.image.ref.name\":\"$TAG\"")" || die "$FROM has no host $TAG"
        get_document "$digest" '' "$WORK/index"
        ;;
    esac
    digest_in "$(objects "$WORK/index" | grep "\"architecture\":\"$ARCH\"")" || die "$FROM has no host for $ARCH"
    host_digest=$digest
    get_document "$host_digest" '' "$WORK/host"
    digest_in "$(objects "$WORK/host" | grep 'vnd.minbuild.recipe.v1')" || die "$FROM gives no recipe"
    get_blob "$digest" "$WORK/recipe" 65536
}

# verify: the recipe is signed by one of the keys.
verify() {
    list_referrers "$host_digest" >"$WORK/signatures"
    signatures=0
    while read -r line; do
        digest_in "$line" || continue
        get_document "$digest" '' "$WORK/signature"
        grep -q "\"subject\":{[^}]*\"sha256:$host_digest\"" "$WORK/signature" || continue
        for sig in $(objects "$WORK/signature" | grep '"mediaType":"application/vnd.minbuild.signature.v1"' | sed -n 's/.*"digest":"sha256:\([0-9a-f]\{64\}\)".*/\1/p'); do
            rm -f "$WORK/recipe.sig"
            get_blob "$sig" "$WORK/recipe.sig" 4096
            signatures=$((signatures + 1))
            ! is_signed || return 0
        done
    done <"$WORK/signatures"
    [ "$signatures" -gt 0 ] || die "$FROM gives no signature"
    die 'the recipe is not signed by a key of this host'
}

is_signed() {
    while read -r key; do
        [ "$key" ] || continue
        printf 'untrusted comment: key\n%s\n' "$key" >"$WORK/key.pub"
        ! signify-openbsd -V -q -p "$WORK/key.pub" -x "$WORK/recipe.sig" -m "$WORK/recipe" 2>/dev/null || return 0
    done <"$KEYS"
    return 1
}

# value KEY [FILE]: of a recipe.
value() {
    sed -n "s/^$1 //p" "${2:-$WORK/recipe}"
}

# read_recipe: what was signed, looked at; `new` is its version.
read_recipe() {
    read -r magic <"$WORK/recipe"
    [ "$magic" = 'minbuild-recipe 1' ] || die 'the recipe is none that this host reads'
    [ "$(value name)" = "$PUBLISHED" ] || die "this is the host $(value name), not $PUBLISHED"
    [ "$(value arch)" = "$ARCH" ] || die "this is a host for $(value arch), not $ARCH"
    new=$(value version) expires=$(value expires) size=$(value size)
    is_number "$new" && is_number "$expires" && is_number "$size" && [ "$size" -le $LARGEST ] || die 'the recipe has no numbers where they are due'
    [ "$expires" -eq 0 ] || [ "$(date +%s)" -le "$expires" ] || die "version $new was to be believed until $(date -u -d "@$expires"): $FROM withholds newer ones, or the clock is wrong"
}

# look: whether there is something to fetch: 0 yes, 1 no; why not, is told. The ESP is open.
look() {
    find_recipe
    verify
    read_recipe
    read_kept newest
    if [ "$new" -lt "$VERSION" ] || [ "$new" -lt "${kept:-0}" ]; then
        die "$FROM goes back: version $new, and $([ "$VERSION" -gt "${kept:-0}" ] && echo "$VERSION" || echo "$kept") was there"
    fi
    if [ "$new" -eq "$VERSION" ]; then
        tell "version $VERSION is the newest"
        return 1
    fi
    if find_file "$new"; then
        parse "$found"
        if [ "$tries" = 0 ]; then
            tell "version $new was tried and failed; a newer one is waited for"
        else
            tell "version $new is on the ESP already"
        fi
        return 1
    fi
    if [ "${kept:-0}" = "$new" ] && [ ! -e "$LINUX/${NAME}_$new.part" ]; then
        read_kept failed
        if [ "$kept" = "$new" ]; then
            tell "version $new was tried and failed; a newer one is waited for"
            return 1
        fi
    fi
}

# free: bytes of the ESP that are free.
free() {
    df -k "$ESP" | awk 'END { printf "%d", $(NF - 2) * 1024 }'
}

# make_room BYTES: what neither runs nor is needed goes, failed ones first; the version before this one only
# where the new one fits then.
make_room() {
    for old in "$LINUX"/*.part; do
        [ ! -e "$old" ] || [ "$old" = "$part" ] || rm -f "$old"
    done
    had=0
    [ ! -e "$part" ] || had=$(wc -c <"$part")
    for pass in failed former; do
        for old in "$LINUX/$NAME"_*.efi; do
            [ "$((had + $(free)))" -lt $(($1 + 65536)) ] || break 2
            parse "$old" && [ "$file_version" -ne "$VERSION" ] || continue
            case $pass$tries in failed0 | former*) ;; *) continue ;; esac
            [ "$((had + $(free) + $(wc -c <"$old")))" -ge $(($1 + 65536)) ] || continue
            tell "version $file_version goes from the ESP"
            rm -f "$old" "$KEPT/${NAME}_$file_version.recipe"
            sync "$LINUX" "$KEPT"
        done
    done
    [ "$((had + $(free)))" -ge $(($1 + 65536)) ] || die "the ESP is full: $(free) bytes are free, and version $new has $1"
}

# copy_part SHA256 SIZE: from the version that runs, whose recipe says where it is; 1 if it has none.
copy_part() {
    [ -e "$KEPT/${NAME}_$VERSION.recipe" ] && is_judged || return 1
    skip=0
    while read -r word has_sha has_size _; do
        [ "$word" = part ] || continue
        if [ "$has_sha" = "$1" ] && [ "$has_size" = "$2" ]; then
            dd if="$LINUX/${NAME}_$VERSION.efi" bs=65536 iflag=skip_bytes,count_bytes skip="$skip" count="$2" 2>/dev/null >"$WORK/part"
            has_digest "$WORK/part" "$1"
            return
        fi
        skip=$((skip + has_size))
    done <"$KEPT/${NAME}_$VERSION.recipe"
    return 1
}

# assemble: $part is the recipe's file; parts that it has are not fetched again.
assemble() {
    at=0 fetched=0
    [ -e "$part" ] || : >"$part"
    had=$(wc -c <"$part")
    while read -r word part_sha part_size _; do
        [ "$word" = part ] || continue
        is_number "$part_size" || die 'the recipe has no numbers where they are due'
        at=$((at + part_size))
        [ "$had" -lt "$at" ] || continue
        if [ "$had" -ne $((at - part_size)) ]; then
            dd if=/dev/null of="$part" bs=1 seek=$((at - part_size)) 2>/dev/null
        fi
        if ! copy_part "$part_sha" "$part_size"; then
            [ "$(cat "$WORK/part.of" 2>/dev/null)" = "$part_sha" ] || rm -f "$WORK/part"
            echo "$part_sha" >"$WORK/part.of"
            get_blob "$part_sha" "$WORK/part" "$part_size"
            fetched=$((fetched + part_size))
        fi
        if ! { cat "$WORK/part" >>"$part" && sync "$part"; }; then
            die 'the ESP cannot be written'
        fi
        rm -f "$WORK/part"
        had=$at
    done <"$WORK/recipe"
    [ "$at" -eq "$size" ] || die 'the recipe does not add up'
}

# is_whole FILE RECIPE: it has the SHA-256 that was signed, read from the disk again.
is_whole() {
    sync "$1"
    echo 3 >/proc/sys/vm/drop_caches
    has_digest "$1" "$(value sha256 "$2")"
}

fetch() {
    open_esp rw
    is_judged || die "version $VERSION is not found good yet"
    if ! look; then
        close_esp
        return 1
    fi
    part=$LINUX/${NAME}_$new.part
    make_room "$size"
    echo "$new" | write_kept newest
    assemble
    if ! is_whole "$part" "$WORK/recipe"; then
        rm -f "$part"
        die "version $new is not what was signed, read back from the ESP"
    fi
    write_kept "${NAME}_$new.recipe" <"$WORK/recipe"
    tell "version $new is here: $fetched of $size bytes were fetched"
    close_esp
}

# apply: what was fetched gets its tries, and the host restarts.
apply() {
    open_esp rw
    is_judged || die "version $VERSION is not found good yet"
    for part in "$LINUX/$NAME"_*.part; do
        [ -e "$part" ] || die 'nothing was fetched: update fetch'
        parse "${part%.part}" && [ "$file_version" -gt "$VERSION" ] || continue
        new=$file_version
        if ! { [ -e "$KEPT/${NAME}_$new.recipe" ] && is_whole "$part" "$KEPT/${NAME}_$new.recipe"; }; then
            die "version $new is not whole: update fetch"
        fi
        rm -f "$KEPT/why"
        list_guests | write_kept guests
        settle_name "$part" "$LINUX/${NAME}_$new+$TRIES.efi" || die 'the ESP cannot be written'
        say update "version $new is tried: restart"
        close_esp
        reboot
        return
    done
    die 'nothing newer was fetched: update fetch'
}

# back: the version that runs is given up, and the one before starts.
back() {
    open_esp rw
    other=
    for file in "$LINUX/$NAME"_*.efi; do
        parse "$file" || continue
        [ "$file_version" -eq "$VERSION" ] || [ "$tries" ] || other=$file_version
    done
    [ "$other" ] || die 'no other version that was found good is on the ESP'
    find_file "$VERSION" || die "version $VERSION is not on the ESP"
    echo "$VERSION" | write_kept failed
    echo 'taken back by hand' | write_kept why
    settle_name "$found" "$LINUX/${NAME}_$VERSION+0.efi" || die 'the ESP cannot be written'
    say update "back to version $other: restart"
    close_esp
    reboot
}

status() {
    open_esp ro
    tell "version $VERSION runs"
    for file in "$LINUX/$NAME"_*; do
        [ -e "$file" ] || continue
        case $file in
        *.part) tell "${file##*/}: fetched, not tried" ;;
        *)
            parse "$file" || continue
            case $tries in
            '') tell "version $file_version is good" ;;
            0) tell "version $file_version failed" ;;
            *) tell "version $file_version has $tries tries left" ;;
            esac
            ;;
        esac
    done
    read_kept why
    [ ! "$kept" ] || tell "not healthy: $kept"
    close_esp
}

list_guests() {
    for guest in /data/guests/*/pid; do
        [ -e "$guest" ] || continue
        read -r guest_pid <"$guest"
        ! kill -0 "$guest_pid" 2>/dev/null || { guest=${guest%/pid} && printf '%s ' "${guest##*/}"; }
    done
    echo
}

# find_problem: what is not healthy within the time, in `problem`; empty: all is.
find_problem() {
    problem=
    seconds
    health_end=$((now + HEALTH_SECONDS))
    for state in $HEALTH; do
        seconds
        await "$state" $((health_end > now ? health_end - now : 0)) || problem="$state was not reached in $HEALTH_SECONDS s"
        [ ! "$problem" ] || return 0
    done
    until problem= && has_guests && { sh -c "$HEALTH_TEST" >/dev/null 2>&1 || { problem="the test failed: $HEALTH_TEST" && false; }; }; do
        seconds
        [ "$now" -lt "$health_end" ] || return 0
        nap 1
    done
}

# Guests that were running before the restart run again.
has_guests() {
    for wanted in $GUESTS; do
        running=
        if [ -e "/data/guests/$wanted/pid" ]; then
            read -r running <"/data/guests/$wanted/pid"
        fi
        if [ ! "$running" ] || ! kill -0 "$running" 2>/dev/null; then
            problem="guest $wanted does not run again"
            return 1
        fi
    done
}

# The entry that runs is that which systemd-boot counts down. LoaderBootCountPath stays from an entry that
# the loader could not start before this one: it is ours only when it names the entry that was selected.
judge() {
    open_esp rw
    read_kept guests
    GUESTS=$kept
    close_esp
    find_problem
    open_esp rw
    counted=$(loader LoaderBootCountPath | tr '\134' /)
    good=${counted%%+*}.efi
    if [ "${good##*/}" != "$(loader LoaderEntrySelected)" ] || [ ! -e "$ESP$counted" ]; then
        counted=
    fi
    if [ "$problem" ]; then
        echo "$problem" | write_kept why
        say update "FAILED: version $VERSION is not healthy: $problem"
        [ "$counted" ] || { close_esp && return; }
        echo "$VERSION" | write_kept failed
        close_esp
        say update 'restart'
        reboot
        return
    fi
    if [ "$counted" ]; then
        # a twin without counter, of another build or of a cut, goes by this: it would be started next
        settle_name "$ESP$counted" "$ESP$good" || die 'the ESP cannot be written'
        rm -f "$KEPT/failed"
        say update "version $VERSION is good"
    else
        say update "version $VERSION was good"
        explain_failure
    fi
    rm -f "$KEPT/guests"
    close_esp
    reached good
}

# Why a newer version is on the ESP that does not run.
explain_failure() {
    for file in "$LINUX/$NAME"_*+0*.efi; do
        [ -e "$file" ] && parse "$file" && [ "$file_version" -gt "$VERSION" ] || continue
        read_kept failed
        [ "$kept" = "$file_version" ] || echo "$file_version" | write_kept failed
        read_kept why
        say update "version $file_version was tried and failed: ${kept:-it did not start}"
    done
}

is_in_window() {
    [ "$WINDOW" ] || return 0
    hour=$(date -u +%H)
    hour=${hour#0}
    [ "$hour" -ge "${WINDOW%-*}" ] && [ "$hour" -lt "${WINDOW#*-}" ]
}

# Hosts of one image do not ask all at once: each waits for up to an hour more, by chance.
look_often() {
    while :; do
        read -r chance </proc/sys/kernel/random/uuid
        nap $((EVERY * 3600 + 0x${chance%%-*} % 3600))
        is_in_window || continue
        (fetch && apply) || :
    done
}

start() {
    await modules 60
    modprobe -q -a efivarfs vfat nls_cp437 nls_ascii
    mount -t efivarfs -o nosuid,nodev,noexec efivarfs "$VARS"
    if [ ! "$(loader LoaderEntrySelected)" ]; then
        say update "version $VERSION runs without systemd-boot: nothing to judge"
        return
    fi
    say update "version $VERSION runs"
    {
        judge
        [ "$EVERY" -eq 0 ] || look_often
    } &
}

check() {
    open_esp ro
    ! look || tell "version $new is offered: $size bytes"
    close_esp
}

case $1 in
start | status | check | fetch | apply | back) "$1" ;;
stop) ;;
*)
    echo 'update status|check|fetch|apply|back' >&2
    exit 2
    ;;
esac
