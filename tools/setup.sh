# setup.sh - sourced by ./demo and ./check: progress, packages, builds. Debian 12.

BUILD_PACKAGES="gcc libc6-dev meson ninja-build pkg-config libsqlite3-dev libyaml-dev libzstd-dev libbrotli-dev
    zlib1g-dev libarchive-dev libpq-dev"
STACK_PACKAGES="postgresql postgresql-client redis-server git python3 util-linux"
TEST_PACKAGES="libcmocka-dev clang clang-format clang-tidy cppcheck libclang-rt-14-dev python3-pytest valgrind
    systemd iproute2 procps man-db mount bash zsh"

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
[ -t 1 ] && [ -z "${NO_COLOR:-}" ] || say() { printf '==> %s\n' "$*"; }
die() { printf 'slipway: %s\n' "$*" >&2; exit 1; }

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
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    say "installing ${missing[*]}"
    as_root apt-get update -qq || die "apt-get update failed"
    # RUNLEVEL=1 keeps a fresh PostgreSQL or Redis from being started: the platform runs its own.
    as_root DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}" \
        >"${TMPDIR:-/tmp}/slipway-apt.$$.log" 2>&1 ||
        { tail -n 20 "${TMPDIR:-/tmp}/slipway-apt.$$.log" >&2; die "apt-get install failed"; }
    rm -f "${TMPDIR:-/tmp}/slipway-apt.$$.log"
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
    ninja --quiet -C "$folder" >"$log" 2>&1 || { tail -n 60 "$log" >&2; die "the build failed"; }
}
