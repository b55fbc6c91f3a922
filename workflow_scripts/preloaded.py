"""Run a script in a process that has already imported the large libraries, which saves seconds on each of many short jobs.

    python workflow_scripts/preloaded.py evaluate_method.py --model …     what the rules call
    python workflow_scripts/preloaded.py --serve SOCKET                   what ./reproduce starts on one machine

The server imports third-party libraries once, while Snakemake reads the workflow, and forks a worker for each job. It never imports
this project's own modules, so that an edit counts from the next job on. Without a server, for instance on a cluster's
node, the script runs in a process of its own. A worker ends with its caller, and all workers end with the workflow.
"""

from __future__ import annotations

import array
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

HERE = Path(__file__).resolve().parent
VARIABLE = "HIMAP_WARM"  # holds the server's socket and, after a colon, the Python installation that it runs in
LIBRARIES = (
    "json", "numpy", "pandas", "pyarrow.parquet", "pyarrow.dataset", "PIL.Image", "tqdm", "yaml",
    "torch", "transformers.modeling_utils",
    "transformers.models.llava.modeling_llava", "transformers.models.clip.modeling_clip",
    "transformers.models.llama.modeling_llama",
    "matplotlib.pyplot", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_pdf", "matplotlib.backends.backend_svg",
)  # fmt: skip


def main(words: list[str]) -> int:
    """Serve, or run a script: in a worker of the server if one of the same Python runs, else in place of this process."""
    if not words or words[0] in ("-h", "--help"):
        print((__doc__ or "").strip())
        return 0
    if words[0] == "--serve":
        return serve(words[1])
    place, _, prefix = os.environ.get(VARIABLE, "").partition(":")
    # A rule with an environment of its own (--sdm conda) runs another Python, for which the server's libraries are
    # wrong.
    if place and prefix == sys.prefix:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as server:
            server.connect(place)
            return ask(server, words)
    # Also if the server went away: a job must not depend on it. exec, so that signals and the status are the script's
    # own.
    os.execv(sys.executable, [sys.executable, str(HERE / words[0]), *words[1:]])


def ask(server: socket.socket, words: list[str]) -> int:
    """Send a job to the server with this process's open files and environment, and return its exit status."""
    about = {"words": words, "scripts": str(HERE), "folder": os.getcwd(), "environment": dict(os.environ)}
    request = json.dumps(about).encode()
    files = array.array("i", [0, 1, 2])
    # Standard input, output and error travel as file descriptors, so the worker writes where this process would.
    # The length of the request first (4 bytes, network order), then the request as JSON.
    server.sendmsg([struct.pack("!I", len(request))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
    server.sendall(request)
    for number in (signal.SIGTERM, signal.SIGINT):  # on exit the connection closes, and that ends the worker
        signal.signal(number, lambda received, _: os._exit(128 + received))
    answer = server.recv(4)
    # No answer: the keeper or the whole server was killed.
    return struct.unpack("!i", answer)[0] if len(answer) == 4 else 1


def serve(place: str) -> int:
    """Wait for jobs until standard input, which the workflow holds open, is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the workflow decides what ends
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system reaps the keepers: nobody waits for them
    with socket.socket(socket.AF_UNIX) as listening:
        try:
            bind(listening, place)
        except OSError as error:  # some network file systems have no sockets
            print(
                f"jobs start without preloaded libraries, some seconds slower each: {place}: {error}", file=sys.stderr
            )
            return 0
        load()  # callers that come meanwhile wait in the queue
        while True:
            # Closed standard input is readable: it means that everyone who held it is gone.
            ready, _, _ = select.select([listening, sys.stdin], [], [])
            if sys.stdin in ready:
                Path(place).unlink(missing_ok=True)
                return 0
            caller, _ = listening.accept()
            if os.fork() == 0:  # a keeper for each job, so that the server is free for the next caller
                listening.close()
                keep(caller)
            caller.close()


def bind(listening: socket.socket, place: str) -> None:
    """Listen at a path, for this user only, and replace the socket that a killed server left there."""
    Path(place).unlink(missing_ok=True)
    before = os.umask(0o177)  # anyone who can connect can run code as this user
    try:
        listening.bind(place)
    finally:
        os.umask(before)
    listening.listen(64)


def load() -> None:
    """Import the libraries that most scripts need; one that is missing is reported by the script that needs it."""
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a worker's garbage collector would otherwise touch, and so copy, all memory shared with the server


def keep(caller: socket.socket) -> NoReturn:
    """Start one worker, send the caller its exit status, and kill it if the caller or the workflow is gone."""
    status = 1
    try:
        # The server ignores it, and then the system would throw the worker's exit status away.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        request, files = receive(caller)
        worker = os.fork()
        if worker == 0:
            caller.close()
            work(request, files)
        for file in files:
            os.close(file)
        # A descriptor that is readable once the worker ends, to wait for it and for the caller at once.
        ended = os.pidfd_open(worker)
        ready, _, _ = select.select([ended, caller, sys.stdin], [], [])
        if ended not in ready:
            os.kill(worker, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
        status = code if code >= 0 else 128 - code  # as a shell reports a signal
        caller.sendall(struct.pack("!i", status))
    except OSError:
        pass
    finally:
        # Not sys.exit, which would run what the server registered for its own end.
        os._exit(0)


def receive(caller: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Return a request and the caller's three standard files."""
    head, control, _, _ = caller.recvmsg(4, socket.CMSG_SPACE(3 * array.array("i").itemsize))
    files = array.array("i")
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            # A control message may be cut in the middle of a descriptor; whole ones count.
            files.frombytes(data[: len(data) - len(data) % files.itemsize])
    (left,) = struct.unpack("!I", head)
    text = b""
    while len(text) < left:
        # A socket may hand over a long request in pieces: the environment alone is several kilobytes.
        piece = caller.recv(min(1 << 16, left - len(text)))
        if not piece:
            raise OSError("the caller went away")
        text += piece
    return json.loads(text), list(files)


def work(request: dict[str, Any], files: list[int]) -> NoReturn:
    """Run the script in this process with the caller's files, folder, environment, arguments and number of threads."""
    status = 1
    try:
        for number, file in enumerate(files):
            # 0, 1 and 2 of the caller become those of this process.
            os.dup2(file, number)
        for file in files:
            os.close(file)
        os.chdir(request["folder"])
        # The server's environment must not leak into a job, which expects that of Snakemake.
        os.environ.clear()
        os.environ.update(request["environment"])
        # The server ignores Ctrl-C, and a fork inherits that.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        script = str(Path(request["scripts"]) / request["words"][0])
        sys.argv = [script, *request["words"][1:]]
        # As Python sets it for a script, so that `import himap` finds the caller's project.
        sys.path[0] = request["scripts"]
        threads = os.environ.get("OMP_NUM_THREADS", "")  # torch read the server's value when it was imported
        if "torch" in sys.modules and threads.isdigit():
            sys.modules["torch"].set_num_threads(int(threads))
        runpy.run_path(script, run_name="__main__")
        status = 0
    except SystemExit as error:
        # As Python ends: an int is the status, None is 0, and anything else is printed with status 1.
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
