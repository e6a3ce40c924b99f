"""Runs a program on a terminal of its own and types into it, as an operator does.

    terminal.py STEPS PROGRAM [ARGUMENT...]

STEPS is a JSON list of [what to wait for, what to type]; Ctrl-D is "\\u0004". Prints {"code": ..., "screen": ..., "left": ...}:
how the program ended, all that was on the screen, and the steps it never got to. Needs nothing but the standard library.
"""

import json
import os
import pty
import select
import signal
import sys
import time

PATIENCE = 60


def main():
    steps = json.loads(sys.argv[1])
    pid, terminal = pty.fork()
    if pid == 0:
        # A test run in the background ignores it, and so would the program.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.execv(sys.argv[2], sys.argv[2:])
    screen, seen = b"", 0
    deadline = time.monotonic() + PATIENCE
    while True:
        awaited = steps[0][0].encode() if steps else None
        at = screen.find(awaited, seen) if steps else -1
        if at >= 0:
            seen = at + len(awaited)
            os.write(terminal, steps.pop(0)[1].encode())
            continue
        ready, _, _ = select.select([terminal], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            os.kill(pid, signal.SIGKILL)
            break
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # The program has let go of the terminal.
            break
        if not chunk:
            break
        screen += chunk
    _, status = os.waitpid(pid, 0)
    text = screen.decode(errors="replace").replace("\r\n", "\n")
    print(json.dumps({"code": os.waitstatus_to_exitcode(status), "screen": text, "left": steps}))


main()
