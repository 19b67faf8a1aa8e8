# shellcheck shell=bash
# What is installed where: distributions differ in their packages, and other people's packages are left alone. Sourced by
# machines_test.sh.
# shellcheck disable=SC2154  # scratch is of testing.sh

# A planted distribution. In: packages that apt knows. What is installed: $scratch/installed.
plant_distribution() {
  printf '%s\n' "$@" >"$scratch/known"
  : >"$scratch/installed"
  stand_in apt-cache 'if grep -qx "$2" '"$scratch"'/known; then echo "  Candidate: 1.0"; else echo "  Candidate: (none)"; fi'
  stand_in dpkg-query 'grep -qx "${*: -1}" '"$scratch"'/installed && echo "ii "'
  stand_in apt-get
}
install_on() { with_stand_ins apt_install "$@"; }
installed_by_apt() { sed -n 's/^apt-get .* install .*--no-remove //p' "$scratch/calls"; }
# An engine that answers, or not.
engine_is() { eval "engine_answers() { $1; }"; }

# --- PostgreSQL and Docker of Debian 12, 13 and others ---

plant
plant_distribution postgresql-15 docker.io
words_of install_on "$POSTGRES_PACKAGES" 'docker-cli|docker.io' docker.io >/dev/null
expect 'Debian 12 has PostgreSQL 15, and docker within docker.io' 'docker.io postgresql-15' "$(installed_by_apt)"
plant
plant_distribution postgresql-17 docker.io docker-cli
expect_words 'the server that is taken is said' 'installing docker-cli docker.io postgresql-17' \
  "$(words_of install_on "$POSTGRES_PACKAGES" 'docker-cli|docker.io' docker.io)"
expect 'Debian 13 has PostgreSQL 17, and docker in docker-cli' 'docker-cli docker.io postgresql-17' "$(installed_by_apt)"
plant
plant_distribution postgresql-15 postgresql-16 postgresql-18 postgresql-19
words_of install_on "$POSTGRES_PACKAGES" >/dev/null
expect 'of several the newest that is known to do' postgresql-18 "$(installed_by_apt)"
plant
plant_distribution nothing
words_of install_on "$POSTGRES_PACKAGES" >/dev/null
expect 'where there is none, apt says so' postgresql-15 "$(installed_by_apt)"

expect 'nothing that is there is removed for it' 1 "$(called 'install --no-install-recommends --no-remove')"
expect 'no file of the installation stays' '' "$(ls "$SYSTEM/etc")"
plant_file /etc/postgresql-common/createcluster.d/theirs.conf ''
words_of install_on "$POSTGRES_PACKAGES" >/dev/null
expect 'but those of others' theirs.conf "$(ls "$CREATECLUSTER")"

plant
plant_distribution
stand_in apt-get '[[ $* != *install* ]] || { echo "E: no space left on the disk"; exit 100; }'
expect 'an installation that fails ends the run' 1 "$(code_of install_on make)"
expect_words 'with the words of apt' 'no space left on the disk' "$(words_of install_on make)"
expect 'and leaves nothing' '' "$(ls "$SYSTEM/etc")"
stand_in apt-get 'echo "E: Temporary failure resolving"; exit 100'
expect_words 'so do those of an update' 'Temporary failure resolving' "$(words_of install_on make)"
expect_words 'where there is no apt-get, the packages are named' 'these packages are missing: jq make' \
  "$(with_only_stand_ins eval 'rm "$scratch/bin/apt-get"; words_of apt_install jq make')"

# --- Engines of others ---

pairs() { with_stand_ins engine_pairs | xargs; }
plant
plant_distribution
engine_is false
expect 'without an engine it is Debian'"'"'s' 'docker:docker-cli|docker.io dockerd:docker.io' "$(pairs)"
echo docker-ce-cli >"$scratch/installed"
expect 'beside the command of Docker it is Docker'"'"'s' 'docker:docker-ce-cli dockerd:docker-ce' "$(pairs)"
echo containerd.io >"$scratch/installed"
expect 'and so beside its containerd' 'docker:docker-ce-cli dockerd:docker-ce' "$(pairs)"
echo moby-containerd >"$scratch/installed"
expect 'beside Moby it is Moby'"'"'s' 'docker:moby-cli dockerd:moby-engine' "$(pairs)"
engine_is true
expect 'no engine is installed beside one that answers' 'docker:moby-cli' "$(pairs)"
: >"$scratch/installed"
expect 'wherever it came from' 'docker:docker-cli|docker.io' "$(pairs)"

# --- Servers of PostgreSQL that are here already ---

release() { postgres_release "$1" || echo none; }
plant
expect 'no server' none "$(release '')"
expect 'is no failure of the script' 1 "$(code_of postgres_bin)"
plant_program /usr/lib/postgresql/13/bin/postgres
plant_program /usr/lib/postgresql/19/bin/postgres
expect 'releases that are not known to do are left alone' none "$(release '')"
plant_program /usr/lib/postgresql/15/bin/postgres
expect 'one that is' 15 "$(release '')"
plant_program /usr/lib/postgresql/17/bin/postgres
mkdir -p "$SYSTEM/usr/lib/postgresql/18/lib"
expect 'the newest that has its server' 17 "$(release '')"
plant_file "${PGDATA_UP#"$SYSTEM"}/PG_VERSION" 15
expect 'data stays with the release that made it' "$SYSTEM/usr/lib/postgresql/15/bin" "$(postgres_bin "$PGDATA_UP")"
describe_process postgres
expect 'also when it is started' "$SYSTEM/usr/lib/postgresql/15/bin/postgres -D $PGDATA_UP" "${ARGV[*]}"
rm -rf "${SYSTEM:?}/usr/lib/postgresql/15"
expect 'and is not given to another' 1 "$(code_of postgres_bin "$PGDATA_UP")"
