# shellcheck shell=bash
# deploy/images/build.sh with stand-ins for what it runs: nothing is fetched or built. Sourced by machines_test.sh.
# shellcheck disable=SC2154  # scratch is of testing.sh

images="$scratch/other checkout/deploy/images"
plant
mkdir -p "$(dirname "$images")"
cp -r "$here/../images" "$images"
stand_in apt-config
stand_in mmdebstrap 'touch "${*: -2:1}"'
stand_in apt-get 'echo http://mirror.example.com/debian'
stand_in npm 'for word in "$@"; do [[ $word != --silent ]] || exit 1; done; echo "npm error 404 Not Found" >&2; exit 1'
# Keeps what a build is given; knows no image. Its images have the packages of $scratch/installed beyond the base's.
touch "$scratch/installed"
docker_stand_in='last=
for word in "$@"; do [[ $last != --iidfile ]] || echo built >"$word"; last=$word; done
case $* in
  version*) ;;
  *inspect*) exit 1 ;;
  import*) echo imported ;;
  *"dpkg-query imported"* | *"dpkg-query supalove/base"*) grep -v "^#" '"'$images'"'/base/packages.list ;;
  *"dpkg-query built"*) grep -v "^#" '"'$images'"'/base/packages.list; cat '"$scratch"'/installed ;;
  *"dpkg built --print-arch"* | *"dpkg imported --print-arch"*) echo "${ARCHITECTURE:-amd64}" ;;
  *build*--label*) cat >/dev/null; printf "%s\n" "$@" >'"$scratch"'/labels ;;
  *build*) find "${*: -1}" -type f -printf "%f %m\n" >'"$scratch"'/context
    cp "${*: -1}"/packages/packages.list '"$scratch"'/context.list 2>/dev/null || : >'"$scratch"'/context.list ;;
esac'
stand_in docker "$docker_stand_in"
build_image_() { with_stand_ins "$images/build.sh" "$@"; }

expect 'without the engine it is said where none answers' 1 "$(stand_in docker 'exit 1'; code_of build_image_ gateway)"
stand_in docker "$docker_stand_in"
chmod -R go= "$images"
expect 'an image is built from a checkout with a space in its path, made with the umask 077' 0 \
  "$(umask 077; code_of build_image_ gateway)"
expect 'and its files can be read by the image'"'"'s user' 'nginx.conf 644' "$(grep nginx "$scratch/context")"
expect_words 'npm that fails is heard' 'npm error 404 Not Found' "$(words_of build_image_ functions)"
expect_words 'and what it was to fetch is said' 'npm could not fetch @deno' "$(words_of build_image_ functions)"

# --- The versions of Debian packages ---

grep -v '^#' "$images/gateway/packages.list" >"$scratch/installed"
expect_words 'the package versions of a build are the recorded ones' "$(grep '^nginx=' "$images/gateway/packages.list")" \
  "$(build_image_ gateway >/dev/null; cat "$scratch/context.list")"
expect 'and the image says so' 1 "$(grep -c '^dev.supalove.packages=as recorded$' "$scratch/labels")"
expect 'pins of apt are made of them' $'Package: b\nPin: version 1:2~3+x\nPin-Priority: 1001' \
  "$("$images/packages/pins.sh" <(printf '# c\nb=1:2~3+x\n'))"
expect 'without a list there are none' '' "$("$images/packages/pins.sh" "$scratch/none")"
sed -i 's/^nginx=.*/nginx=9.9/' "$scratch/installed"
expect 'a host that gets newer packages builds' 0 "$(code_of build_image_ gateway)"
expect_words 'and is warned, with their names' "warning: supalove/gateway:1-2: the mirror no longer has the recorded package versions, the image has others: newer: 1 packages differ: nginx=9.9 (recorded: " "$(words_of build_image_ gateway)"
expect_words 'as is whoever looks at the image' 'dev.supalove.packages=newer: 1 packages differ: nginx=9.9' "$(cat "$scratch/labels")"
expect_words 'on another architecture, too' 'no versions are recorded for arm64' "$(ARCHITECTURE=arm64 words_of build_image_ gateway)"
before=$(cat "$images"/*/packages.list "$images/recorded.list" | sha256sum)
expect 'the lists belong to the tags' 0 "$(code_of "$images/build.sh" --check)"
expect 'a list with a tag is not recorded again' 0 "$(code_of build_image_ --record --force gateway)"
expect 'it stays as it is' "$before" "$(cat "$images"/*/packages.list "$images/recorded.list" | sha256sum)"
sed -i 's/^nginx=.*/nginx=9.9/' "$images/gateway/packages.list"
expect 'a changed list under the old tag is refused' 1 "$(code_of "$images/build.sh" --check)"
expect_words 'with the remedy' 'give it a new tag in build.sh' "$(words_of build_image_ gateway)"
sed -i 's/supalove\/gateway:1-2/supalove\/gateway:1-3/' "$images/build.sh"
expect 'a new tag without a list is refused, too' 1 "$(code_of "$images/build.sh" --check)"
sed -i 's/^nginx=.*/nginx=9.10/' "$scratch/installed"
expect 'it gets one' 0 "$(code_of build_image_ --record gateway)"
expect 'of a build that chose the newest' '' "$(cat "$scratch/context.list")"
expect 'with what the image has' 'nginx=9.10' "$(grep '^nginx=' "$images/gateway/packages.list")"
expect 'and the tag belongs to the list' 0 "$(code_of "$images/build.sh" --check)"
echo 'x=1' >>"$images/base/packages.list"
expect 'a changed base needs new tags for all images' 6 "$(words_of "$images/build.sh" --check | grep -c 'was not made with')"
sed -i '$d' "$images/base/packages.list"

stand_in docker 'case $* in version*) ;; *inspect*) exit 1 ;; *build*) echo "Step 3: no space left"; exit 1 ;; esac'
expect_words 'so is a build that fails' 'Step 3: no space left' "$(words_of build_image_ gateway)"
stand_in mmdebstrap 'echo "E: no mirror" >&2; exit 1'
expect_words 'so is a root that cannot be made' 'E: no mirror' "$(words_of build_image_ gateway)"
stand_in apt-get
expect_words 'a host without Debian sources is told what to set' 'SUPALOVE_DEBIAN_MIRROR' "$(words_of build_image_ gateway)"

# --- Releases whose images are named by digest ---
digest=sha256:$(printf '7%.0s' {1..64})
printf 'services:\n    image: nginx:alpine # a frame\n    image: supalove/gateway:1-2\n    image: a.b/c:1@%s\n    image: nginx:alpine\n' \
  "${digest//7/8}" >"$scratch/stack.yaml"
stand_in docker 'case $* in
  *Labels*) ;;
  *inspect*) echo "other@'"${digest//7/9}"'"; echo "nginx@'"$digest"'" ;;
esac'
expect 'tags get the digests of the registry, all else stays' \
  "services:
    image: nginx:alpine@$digest # a frame
    image: supalove/gateway:1-2
    image: a.b/c:1@${digest//7/8}
    image: nginx:alpine@$digest" "$(with_stand_ins words_of "$here/../stacks/pin.sh" "$scratch/stack.yaml")"
expect 'each image is pulled once, those of the local set never' 1 "$(called '^docker pull')"
stand_in docker 'case $* in *Labels*) echo true ;; esac'
expect_words 'a test image is not taken for the official one' 'stands in for the official one' \
  "$(with_stand_ins words_of "$here/../stacks/pin.sh" "$scratch/stack.yaml")"
stand_in docker 'case $* in *pull*) echo "no such host" >&2; exit 1 ;; esac'
expect 'without the registry nothing is made up' 1 "$(with_stand_ins code_of "$here/../stacks/pin.sh" "$scratch/stack.yaml")"
