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
# Keeps what a build is given; knows no image.
stand_in docker 'case $* in
  version*) ;;
  *inspect*) exit 1 ;;
  *build*) find "${*: -1}" -type f -printf "%f %m\n" >'"$scratch"'/context ;;
esac'
build_image_() { with_stand_ins "$images/build.sh" "$@"; }

expect 'without the engine it is said where none answers' 1 "$(stand_in docker 'exit 1'; code_of build_image_ gateway)"
stand_in docker 'case $* in
  version*) ;;
  *inspect*) exit 1 ;;
  *build*) find "${*: -1}" -type f -printf "%f %m\n" >'"$scratch"'/context ;;
esac'
chmod -R go= "$images"
expect 'an image is built from a checkout with a space in its path, made with the umask 077' 0 \
  "$(umask 077; code_of build_image_ gateway)"
expect 'and its files can be read by the image'"'"'s user' 'nginx.conf 644' "$(grep nginx "$scratch/context")"
expect_words 'npm that fails is heard' 'npm error 404 Not Found' "$(words_of build_image_ functions)"
expect_words 'and what it was to fetch is said' 'npm could not fetch @deno' "$(words_of build_image_ functions)"
stand_in docker 'case $* in version*) ;; *inspect*) exit 1 ;; *build*) echo "Step 3: no space left"; exit 1 ;; esac'
expect_words 'so is a build that fails' 'Step 3: no space left' "$(words_of build_image_ gateway)"
stand_in mmdebstrap 'echo "E: no mirror" >&2; exit 1'
expect_words 'so is a root that cannot be made' 'E: no mirror' "$(words_of build_image_ gateway)"
stand_in apt-get
expect_words 'a host without Debian sources is told what to set' 'SUPALOVE_DEBIAN_MIRROR' "$(words_of build_image_ gateway)"
