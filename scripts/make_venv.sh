#!/usr/bin/env bash
# Makes the virtual environment $2 with the interpreter $1.
# Debian ships venv's pip bootstrap (ensurepip) apart from Python: fetch it when we may, else say how to.
set -euo pipefail

python=$1
venv=$2

say() { echo "make_venv: $*" >&2; }

if ! command -v "$python" >/dev/null; then
    say "no '$python' on PATH. hfnb needs Python 3.11 or newer:"
    say "install it (Debian: apt-get install python3.11 python3.11-venv), or name another: make PYTHON=python3.12 ..."
    exit 1
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    say "$python is $("$python" --version 2>&1); hfnb needs Python 3.11 or newer: make PYTHON=python3.11 ..."
    exit 1
fi

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    package="python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "$python has no ensurepip: installing $package with apt-get"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package"
    else
        say "$python has no ensurepip, so it can't make a virtual environment."
        say "Install it as root (Debian, Ubuntu: apt-get install $package) and run make again."
        exit 1
    fi
fi

"$python" -m venv "$venv"
say "made $venv with $("$python" --version 2>&1)"
