# shellcheck shell=bash
# How `make newcomer` reads a README: what it runs, what it compares, and that it fails if it should. Sourced by
# machines_test.sh.
# shellcheck disable=SC2154  # scratch is of testing.sh

# Walks through a text. In: the text; "~~~" stands for the fence.
walk_through() {
  plant
  printf '%s\n' "${1//'~~~'/'```'}" >"$scratch/README.md"
  NEWCOMER_README=$scratch/README.md bash "$here/newcomer/walk.sh" "$scratch/machine"
}
verdict() { code_of walk_through "$1"; }

expect 'a command that does as said' 0 "$(verdict $'~~~sh\necho one two three   #=> one three\n~~~')"
expect 'one that prints other words' 1 "$(verdict $'~~~sh\necho one two   #=> three\n~~~')"
expect 'one that prints them in another order' 1 "$(verdict $'~~~sh\necho one two   #=> two one\n~~~')"
expect 'one that fails' 1 "$(verdict $'~~~sh\nfalse\n~~~')"
expect 'one that fails in a pipe' 1 "$(verdict $'~~~sh\nfalse | cat\n~~~')"
expect 'after one that failed nothing is run' 0 \
  "$(words_of walk_through $'~~~sh\nfalse\necho after\n~~~' | grep -c 'after$' || true)"
expect 'nor in the blocks that come then' 0 \
  "$(words_of walk_through $'~~~sh\nfalse\n~~~\n~~~sh\necho after\n~~~' | grep -c 'after$' || true)"
expect 'folders and variables stay' 0 \
  "$(verdict $'~~~sh\nmkdir here\ncd here && x=1\n~~~\ntext\n~~~sh\necho "${PWD##*/} $x" #=> here 1\n~~~')"
expect 'a command of several lines is one' 0 "$(verdict $'~~~sh\nfor i in 1 2; do\n  echo $i\ndone \\\n  | tail -n 1 #=> 2\n~~~')"
expect 'a line of the README is named' 1 \
  "$(words_of walk_through $'text\n\n~~~sh\ntrue\nfalse\n~~~' | grep -c 'README line 5: exit code 1' || true)"
expect 'how an output ends' 0 "$(verdict $'~~~sh\nseq 9\n~~~\nIt ends with:\n~~~text\n8\n9\n~~~')"
expect 'an output that ends otherwise' 1 "$(verdict $'~~~sh\nseq 9\n~~~\n~~~text\n9\n10\n~~~')"
expect 'the ref of a project may be another' 0 \
  "$(verdict $'~~~sh\necho ref abcdefghijklmnopqrst\n~~~\n~~~text\nref tsrqponmlkjihgfedcba\n~~~')"
expect 'what needs more is not run' 0 "$(verdict $'~~~sh\ntrue\n~~~\n<!-- needs: host (run by x) -->\n~~~sh\nfalse\n~~~')"
expect 'but named' 1 "$(words_of walk_through $'<!-- needs: host (run by x) -->\n~~~sh\nfalse\n~~~' |
  grep -c 'README line 2: not run here, it needs host (run by x)' || true)"
# A second host that says what it is given.
printf '%s\n' 'sed "s/^/there: /" "$1"' 'echo "with: $(cat "$2")"' 'exit "${HOST_CODE:-0}"' >"$scratch/second_host.sh"
with_host() { NEWCOMER_SECOND_HOST=$scratch/second_host.sh "$@"; }
block=$'~~~sh\nssh() { :; }\nsupalove() { echo "run on the host, as root:  join me"; }\nsupalove join-token create\n~~~
<!-- needs: host (run by x) -->\n~~~sh\necho before\nssh root@HOST\n  more\n~~~'
found=$(words_of with_host walk_through "$block")
expect_words 'where there is a second host, what comes before ssh is run as ever' $'$ echo before\nbefore\n' "$found"
expect_words 'and the rest is given to it, with the command that was printed' \
  $'there: ssh root@HOST\nthere:   more\nwith: join me\n' "$found"
expect 'what is wrong there is wrong' '0 1' "$(with_host verdict "$block") $(HOST_CODE=1 with_host verdict "$block")"
expect 'such a mark is for the next block only' 1 \
  "$(verdict $'<!-- needs: host -->\ntext\n~~~sh\nfalse\n~~~')"
expect 'a block of another kind is neither run nor compared' 1 "$(verdict $'~~~sh\ntrue\n~~~\n~~~\nls\n~~~')"
expect 'all commands are run, whatever is looked at after each' 1 \
  "$(words_of walk_through $'~~~sh\nmake() { echo; }\ntrue\ntrue\n~~~\n~~~sh\ntrue\n~~~' | grep -c '2 blocks, 4 commands, 0 failures' || true)"
expect 'a README without commands shows nothing' 1 "$(verdict 'text')"

# What the README's own blocks need is tested elsewhere, and that test is there.
needs=$(sed -n 's/^<!-- needs: \(.*\) -->$/\1/p' "$ROOT/README.md")
expect 'each block that needs more names the test that runs it' "$(wc -l <<<"$needs")" "$(grep -c 'controller/tests/[a-z_/]*\.rs' <<<"$needs")"
mapfile -t files < <(grep -o 'controller/tests/[a-z_/]*\.rs' <<<"$needs")
for file in "${files[@]}"; do
  expect "$file is there" yes "$(if [[ -e $ROOT/$file ]]; then echo yes; else echo no; fi)"
done
