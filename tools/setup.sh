# setup.sh - sourced by ./demo and ./check: progress, packages, builds. Debian 12.

BUILD_PACKAGES="gcc libc6-dev meson ninja-build pkg-config libsqlite3-dev libyaml-dev libzstd-dev libbrotli-dev
    zlib1g-dev libarchive-dev libpq-dev libssl-dev libnghttp2-dev libcurl4-openssl-dev libcurl4"
STACK_PACKAGES="postgresql postgresql-client redis-server git python3 python3-venv util-linux"
TEST_PACKAGES="testssl.sh slowhttptest libcmocka-dev clang clang-format clang-tidy cppcheck libclang-rt-14-dev python3-pytest python3-pytest-xdist
    python3-jsonschema python3-cryptography python3-yaml python3-h2 python3-hpack python3-grpcio openssl varnish valgrind
    nginx-light apache2-bin lighttpd
    systemd iproute2 procps man-db mount bash zsh curl pebble openssl"
# What only bench/conformance needs: the proxies that it sets beside ours.
PEER_PACKAGES="nginx-light haproxy apache2 caddy varnish h2o"
# What only bench/edge needs besides, and of those all but apache2 and varnish.
BENCH_PACKAGES="wrk nghttp2-client"

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
[ -t 1 ] && [ -z "${NO_COLOR:-}" ] || say() { printf '==> %s\n' "$*"; }
die() { printf 'slipway: %s\n' "$*" >&2; exit 1; }

# progress LOG COMMAND...: run it with its output in LOG, and show that it moves on: the newest line on a terminal, one
# line every five seconds elsewhere. Returns what the command returns.
progress() {
    local log=$1 line last=$SECONDS
    shift
    "$@" 2>&1 </dev/null | {
        while IFS= read -r line || [ -n "$line" ]; do
            line=${line%$'\r'} line=${line##*$'\r'}
            [ -n "$line" ] || continue
            printf '%s\n' "$line" >&3
            if [ -t 1 ]; then
                printf '\r\033[K    %.*s' $((${COLUMNS:-80} - 6)) "$line"
            elif [ $((SECONDS - last)) -ge 5 ]; then
                printf '    %.*s\n' 110 "$line"
                last=$SECONDS
            fi
        done 3>"$log"
        [ ! -t 1 ] || printf '\r\033[K'
    }
    return "${PIPESTATUS[0]}"
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        env "$@"
    elif command -v sudo >/dev/null; then
        sudo env "$@"
    else
        die "root is needed to install packages ($*), and there is no sudo"
    fi
}

# Install what is missing of the named packages; asks nothing and starts no service.
need_packages() {
    local missing=() package unit
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    say "installing ${missing[*]}"
    as_root apt-get update -qq || die "apt-get update failed"
    mkdir -p build
    # RUNLEVEL and SYSTEMD_OFFLINE keep a fresh PostgreSQL or Redis from being started: the platform runs its own.
    progress build/packages.log as_root DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 SYSTEMD_OFFLINE=1 \
        apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=300 "${missing[@]}" ||
        { tail -n 20 build/packages.log >&2; die "apt-get install failed"; }
    # Nor shall a server that only tests need come up with the next boot.
    for package in $(sed -n 's/^Setting up \([^: ]*\).*/\1/p' build/packages.log); do
        for unit in $(dpkg -L "$package" | grep -oE '[^/@]+\.service$'); do
            as_root SYSTEMD_OFFLINE=1 systemctl disable --quiet "$unit" >/dev/null 2>&1
        done
    done
    return 0
}

# Node.js 18 or newer with npm: whatever is installed, else Debian's.
need_node() {
    if command -v node >/dev/null && command -v npm >/dev/null &&
        [ "$(node -p 'process.versions.node.split(".")[0]')" -ge 18 ]; then
        return 0
    fi
    need_packages nodejs npm
}

# build FOLDER MESON-OPTION...: configure once, then bring up to date; the compiler's words only when it fails.
build() {
    local folder=$1 log
    shift
    log=$folder.log
    mkdir -p "$(dirname "$folder")"
    say "building $folder"
    if [ ! -f "$folder/build.ninja" ]; then
        meson setup "$folder" "$@" >"$log" 2>&1 || { cat "$log" >&2; die "meson setup failed"; }
    fi
    progress "$log" ninja -C "$folder" || { tail -n 60 "$log" >&2; die "the build failed"; }
}
