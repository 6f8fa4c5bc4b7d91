#!/bin/bash
# Build a manifest, compare it with the base branch's footprint, judge it by the base branch's budget.
# Runs anywhere: in a CI job, in a hook, by hand. Exit code: that of the gate.
#
#   MANIFEST  what to build               [host.yaml]
#   BUDGET    budget file; where there is none, the manifest's own rules hold  [budget.yaml]
#   BASE      branch that the change goes to: budget, waivers and baseline are taken from there [main]
#   APPROVED  yes: whoever answers for the budget has approved what the change makes of it  [no]
#   BOOT      yes: boot the image first, so that its ports are known  [no]
#   OUT       where reports go            [minbuild-report]
set -eu -o pipefail
MANIFEST=${MANIFEST:-host.yaml} BUDGET=${BUDGET:-budget.yaml} BASE=${BASE:-main}
OUT=${OUT:-minbuild-report}
mkdir -p "$OUT"

# make ends with 1 when the image stands but is over the manifest's own budget: the gate says so
minbuild make "$MANIFEST" -o "$OUT/build" > "$OUT/make.txt" || { made=$?; [ "$made" -eq 1 ] || exit "$made"; }
if [ "${BOOT:-no}" = yes ]; then minbuild boot "$OUT/build" > "$OUT/boot.txt"; fi

# the base branch as it is: nothing of the change decides what the change is judged by
before=$BASE
git fetch --quiet --depth=1 origin "$BASE" 2> "$OUT/fetch.txt" && before=FETCH_HEAD
git rev-parse --quiet --verify "$before^{commit}" > /dev/null \
    || { echo "there is no branch $BASE to compare with: set BASE" >&2; exit 2; }
base=$(mktemp -d)
trap 'rm -rf "$base"' EXIT
git archive "$before" | tar -x -C "$base"

gate=("$OUT/build")
if [ -f "$base/$BUDGET" ]; then
    gate+=(--budget "$base/$BUDGET" --proposed "$BUDGET")
elif [ -f "$base/$MANIFEST" ]; then
    gate+=(--budget "$base/$MANIFEST" --proposed "$MANIFEST")
elif [ -f "$BUDGET" ]; then
    gate+=(--budget "$BUDGET")
elif [ -f "$MANIFEST" ]; then
    gate+=(--budget "$MANIFEST")
fi
if [ "${APPROVED:-no}" = yes ]; then gate+=(--approved); fi
if [ -f "$base/footprint.json" ]; then
    gate+=(--baseline "$base/footprint.json")
    minbuild diff "$base/footprint.json" "$OUT/build" --text="$OUT/diff.txt" --json="$OUT/diff.json"
    minbuild report "$OUT/build" --baseline "$base/footprint.json" --html="$OUT/report.html" --text="$OUT/report.txt"
else
    minbuild report "$OUT/build" --html="$OUT/report.html" --text="$OUT/report.txt"
fi
if [ -f footprint.json ]; then gate+=(--proposed-baseline footprint.json); fi

[ -n "${GITHUB_ACTIONS:-}" ] && gate+=(--annotations)
code=0
minbuild check "${gate[@]}" --text=- --md="$OUT/comment.md" --json="$OUT/check.json" \
    --junit="$OUT/junit.xml" --sarif="$OUT/minbuild.sarif" || code=$?
if [ -n "${GITHUB_STEP_SUMMARY:-}" ] && [ -f "$OUT/comment.md" ]; then
    cat "$OUT/comment.md" >> "$GITHUB_STEP_SUMMARY"
fi
exit "$code"
