"""Serves the console with the built-in engine, and says where it is.

    make console             at http://127.0.0.1:8080/
    make console PORT=8081   at another port

It is `audio-pool serve --http`, at this user's default address and with this user's default cache: what is made in the
browser is found by `audio-pool generate`, too. Ctrl-C ends it when what is under way is done; a second one at once.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys

HOST = "127.0.0.1"
TAKEN = "port {port} of this machine is taken by another program; choose one: make console PORT={other}"


def free(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description="Serve the console with the built-in engine.")
    parser.add_argument("--port", type=int, default=8080)
    port = parser.parse_args().port
    if not free(port):
        print(TAKEN.format(port=port, other=port + 1), file=sys.stderr)
        return 1
    print("starting ...", flush=True)
    command = [sys.executable, "-m", "audio_pool.cli", "serve", "--http", f"{HOST}:{port}", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        while True:
            try:
                for line in server.stdout:
                    if json.loads(line).get("event") == "ready":
                        print(f"\n  the console is at  http://{HOST}:{port}/\n\nCtrl-C ends it.", flush=True)
                code = server.wait()
            except KeyboardInterrupt:  # the server has it, too, and ends what is under way
                print("\nending ...", flush=True)
            else:
                print("ended" if code == 0 else f"the server ended with {code}", flush=True)
                return code


if __name__ == "__main__":
    sys.exit(main())
