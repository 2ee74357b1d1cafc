# For the other scripts: section titles, and installing what is missing. To be sourced.
# shellcheck shell=bash

section() { printf '\n==== %s (%d s)\n' "$*" "$SECONDS"; }

fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# Prints the comment at the head of the script that sources this: its --help.
usage() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; }

# Where `set -e` ends a script, it does so without a word: this names the line and the command.
set -o errtrace
trap 'printf "%s: line %d ended with exit code %d: %s\n" "${0##*/}" "$LINENO" "$?" "$BASH_COMMAND" >&2' ERR

# Rust itself is not installed for anyone: which way is the person's choice.
need_cargo() {
    command -v cargo >/dev/null && return
    [ -x "$HOME/.cargo/bin/cargo" ] && export PATH="$HOME/.cargo/bin:$PATH" && return
    fail "cargo was not found. Install Rust with rustup (rust-toolchain.toml names the version), then start this again."
}

# need_debian COMMAND=PACKAGE...: installs the packages whose command is missing.
need_debian() {
    local pair missing=()
    for pair; do
        command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
    done
    [ ${#missing[@]} = 0 ] && return
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        fail "please install first (names of Debian packages): ${missing[*]}"
    fi
    section "installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# need_postgres: a PostgreSQL server's programs, for tests that start servers of their own. The package
# would also make and start one on the usual port, which no test needs.
need_postgres() {
    local initdb
    for initdb in "$(command -v initdb || true)" /usr/lib/postgresql/*/bin/initdb; do
        [ -x "$initdb" ] && return
    done
    # Read by the package when it is installed.
    local no_cluster=/etc/postgresql-common/createcluster.d/psicoia-tests.conf
    if [ "$(id -u)" = 0 ]; then
        mkdir -p "${no_cluster%/*}"
        echo 'create_main_cluster = false' >"$no_cluster"
    fi
    need_debian initdb=postgresql
    rm -f "$no_cluster"
}

# need_namespaces: what tests of bad networks make their networks with. Where that cannot work (it takes
# root, and a kernel and a container that allow it) they are left out, which network_note says.
need_namespaces() {
    local name=psi$$
    # Read by the script that calls this.
    # shellcheck disable=SC2034
    network_note=tested
    if [ "$(id -u)" = 0 ]; then
        need_debian ip=iproute2 iptables=iptables
        if ip netns add "$name" && ip link add "$name" type veth peer name eth0 netns "$name"; then
            ip link delete "$name"
            ip netns delete "$name"
            return
        fi
        ip netns delete "$name" 2>/dev/null || true
    fi
    export PSICOIA_NO_NETNS=1
    network_note='LEFT OUT, no network namespaces can be made here'
    section "bad networks: $network_note"
}

# need_services: servers and tools that tests of whole programs start.
need_services() {
    need_debian haproxy=haproxy nc=netcat-openbsd cc=gcc redis-server=redis-server openssl=openssl
    need_postgres
    need_namespaces
}

# need_cargo_tool NAME VERSION: any version that is there will do; this one is installed where none is.
need_cargo_tool() {
    command -v "$1" >/dev/null && return
    export PATH="$HOME/.cargo/bin:$PATH"
    command -v "$1" >/dev/null && return
    section "installing $1 (once, some minutes)"
    cargo install --locked --quiet "$1@$2"
}
