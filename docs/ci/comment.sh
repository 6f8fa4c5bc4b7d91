#!/bin/bash
# Put a report into a pull request: one comment, found again by its first line and replaced.
#
#   FILE    Markdown that begins with a marker line  [comment.md]
#   NUMBER  the pull request
#   REPO    owner/name
# Needs the GitHub CLI (gh) and a token that may write comments (GH_TOKEN).
set -eu -o pipefail
FILE=${FILE:-comment.md}
MARKER=$(head -n 1 "$FILE")
# the number comes from an artifact that a stranger's pull request made: nothing but digits
[[ $NUMBER =~ ^[0-9]+$ ]] || { echo "not a pull request: $NUMBER" >&2; exit 2; }
[[ $MARKER == "<!-- minbuild -->" ]] || { echo "not a report of minbuild" >&2; exit 2; }
found=$(gh api --paginate "repos/$REPO/issues/$NUMBER/comments" \
    --jq ".[] | select(.body | startswith(\"$MARKER\")) | .id" | head -n 1)
if [ -n "$found" ]; then
    gh api --method PATCH "repos/$REPO/issues/comments/$found" --field "body=@$FILE" > /dev/null
else
    gh api --method POST "repos/$REPO/issues/$NUMBER/comments" --field "body=@$FILE" > /dev/null
fi
