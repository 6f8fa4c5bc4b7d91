#!/bin/bash
# Put a report into a pull request: one comment of the bot's own, found again and replaced.
#
#   FILE    Markdown that begins with a marker line  [comment.md]
#   NUMBER  the pull request, by the platform's own event, never by what the change says
#   REPO    owner/name
#   BOT     who writes the comments: those of others are left alone  [github-actions[bot]]
# Needs the GitHub CLI (gh) and a token that may write comments (GH_TOKEN).
set -eu -o pipefail
FILE=${FILE:-comment.md} BOT=${BOT:-github-actions[bot]}
MARKER="<!-- minbuild -->" LONGEST=60000
[[ $NUMBER =~ ^[0-9]+$ ]] || { echo "not a pull request: $NUMBER" >&2; exit 2; }
[[ $(head -n 1 "$FILE") == "$MARKER" ]] || { echo "not a report of minbuild" >&2; exit 2; }
# the text is a stranger's: it names nobody, shows no picture, links nowhere and hides nothing
body=$(mktemp)
trap 'rm -f "$body"' EXIT
{
    echo "$MARKER"
    tail -n +2 "$FILE" | head -c "$LONGEST" | iconv -c -t utf-8 | sed -e 's/@/@\xe2\x80\x8b/g' \
        -e 's/!\[/! [/g' -e 's/\](/] (/g' -e 's/<!--/\&lt;!--/g' -e 's#://#:\xe2\x80\x8b//#g' -e 's/</\&lt;/g'
} > "$body"
found=$(BOT="$BOT" gh api --paginate "repos/$REPO/issues/$NUMBER/comments" \
    --jq ".[] | select(.user.login == env.BOT and (.body | startswith(\"$MARKER\"))) | .id" | head -n 1)
if [ -n "$found" ]; then
    gh api --method PATCH "repos/$REPO/issues/comments/$found" --field "body=@$body" > /dev/null
else
    gh api --method POST "repos/$REPO/issues/$NUMBER/comments" --field "body=@$body" > /dev/null
fi
