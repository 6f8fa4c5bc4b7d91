#!/bin/bash
# Build a manifest, compare it with the main branch's footprint, judge it by a budget.
# Runs anywhere: in a CI job, in a hook, by hand. Exit code: that of the gate.
#
#   MANIFEST  what to build               [host.yaml]
#   BUDGET    budget file; where there is none, the manifest's own rules hold  [budget.yaml]
#   BASE      branch to compare with      [main]
#   OUT       where reports go            [minbuild-report]
set -eu -o pipefail
MANIFEST=${MANIFEST:-host.yaml} BUDGET=${BUDGET:-budget.yaml} BASE=${BASE:-main}
OUT=${OUT:-minbuild-report}
mkdir -p "$OUT"

# make ends with 1 when the image stands but is over the manifest's own budget: the gate says so
minbuild make "$MANIFEST" -o "$OUT/build" > "$OUT/make.txt" || { made=$?; [ "$made" -eq 1 ] || exit "$made"; }

gate=("$OUT/build")
[ -f "$BUDGET" ] || BUDGET=$MANIFEST
[ ! -f "$BUDGET" ] || gate+=(--budget "$BUDGET")
before=$BASE
git fetch --quiet --depth=1 origin "$BASE" 2> "$OUT/fetch.txt" && before=FETCH_HEAD
if git cat-file -e "$before:footprint.json" 2> /dev/null; then
    gate+=(--baseline "git:$before:footprint.json")
    minbuild diff "git:$before:footprint.json" "$OUT/build" --text="$OUT/diff.txt" --json="$OUT/diff.json"
    minbuild report "$OUT/build" --baseline "git:$before:footprint.json" --html="$OUT/report.html" --text="$OUT/report.txt"
else
    minbuild report "$OUT/build" --html="$OUT/report.html" --text="$OUT/report.txt"
fi

[ -n "${GITHUB_ACTIONS:-}" ] && gate+=(--annotations)
code=0
minbuild check "${gate[@]}" --text=- --md="$OUT/comment.md" --json="$OUT/check.json" \
    --junit="$OUT/junit.xml" --sarif="$OUT/minbuild.sarif" || code=$?
if [ -n "${GITHUB_STEP_SUMMARY:-}" ] && [ -f "$OUT/comment.md" ]; then
    cat "$OUT/comment.md" >> "$GITHUB_STEP_SUMMARY"
fi
exit "$code"
