#!/bin/sh
# Runs /data/bench.sh: with `start` when the guests were started, with `stop` before and after they stop.
. /usr/lib/minbuild/init

case $1:${0##*/} in
start:96-bench)
    await data-settled 60
    [ ! -f /data/bench.sh ] || setsid sh /data/bench.sh start >/dev/null 2>/run/bench.log &
    ;;
stop:*) [ ! -f /data/bench.sh ] || sh /data/bench.sh "stop-${0##*/}" ;;
esac
