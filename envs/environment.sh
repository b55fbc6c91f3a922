# Sourced by ./reproduce and ./run-tests. Sets up the project's own virtual environment, once, from the pinned requirements.
# HIMAP_VENV=<folder> uses another environment without changing it; PYTHON=<program> chooses the interpreter.

# environment_is_current <requirements file>: return whether .venv was made from exactly these pins, in this folder.
environment_is_current() {
    local requirements=$1 stamp
    stamp=.venv/installed-$(basename "$requirements")
    [[ -x .venv/bin/python && -f $stamp && "$(<"$stamp")" == "$(cat envs/requirements.txt "$requirements" pyproject.toml; pwd -P)" ]]
}

# find_python: print the first interpreter that is new enough.
find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11 python; do
        if command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
    done
    echo "No Python 3.11 or newer with its venv module was found (on Debian: apt-get install python3 python3-venv)." >&2
    echo "Install one, or give its path: PYTHON=/path/to/python3 $0" >&2
    return 1
}

# ensure_environment <requirements file>: make .venv, or renew it if its pins changed, and put it on PATH.
ensure_environment() {
    local requirements=$1 python
    if [[ -n ${HIMAP_VENV:-} ]]; then
        [[ -x $HIMAP_VENV/bin/python ]] || {
            echo "HIMAP_VENV=$HIMAP_VENV has no bin/python; set it to the folder of a virtual environment, or unset it" >&2
            return 1
        }
        export PATH="$HIMAP_VENV/bin:$PATH"
        return
    fi
    if ! environment_is_current "$requirements"; then
        python=$(find_python) || return 1
        # Two starts at once share this folder, so a lock lets one of them install; the other waits and finds it done.
        "$python" - "$requirements" <<'PYTHON' || return 1
import contextlib, fcntl, pathlib, subprocess, sys, venv

requirements = sys.argv[1]
home = pathlib.Path(".venv")
with open(".venv.lock", "w") as lock:
    with contextlib.suppress(OSError):  # on a file system without locks nothing keeps two starts apart
        fcntl.flock(lock, fcntl.LOCK_EX)
    wanted = "".join(pathlib.Path(name).read_text() for name in ("envs/requirements.txt", requirements, "pyproject.toml"))
    wanted += str(pathlib.Path.cwd().resolve()) + "\n"
    stamp = home / f"installed-{pathlib.Path(requirements).name}"
    if stamp.exists() and stamp.read_text() == wanted and (home / "bin/python").exists():
        sys.exit(0)
    print(f"Setting up .venv from {requirements}; this happens once and takes a few minutes.", file=sys.stderr, flush=True)
    if not (home / "bin/python").exists():
        venv.create(home, with_pip=True, clear=True)
    pip = [str(home / "bin/python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    steps = [pip + ["-r", requirements], pip + ["--no-deps", "--no-build-isolation", "-e", "."]]
    for step in steps:
        if subprocess.run(step, stdout=sys.stderr).returncode:
            sys.exit(f"Setting up failed at: {' '.join(step)}\nFix the cause (often network or disk space) and run again.")
    stamp.write_text(wanted)
PYTHON
    fi
    export PATH="$PWD/.venv/bin:$PATH"
}
