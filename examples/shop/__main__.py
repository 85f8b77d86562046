"""`python -m shop`: serves the shop for some seconds to visitors that come by themselves, then ends."""

import argparse
import logging
import subprocess
import sys
import threading

from werkzeug.serving import make_server

from shop.app import create_app


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m shop")
    parser.add_argument("--seconds", type=float, default=15.0, help="how long the visitors keep coming")
    options = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = make_server("127.0.0.1", 0, create_app(), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"the shop is open on http://127.0.0.1:{server.server_port} for {options.seconds:g} s", flush=True)
    visitors = [sys.executable, "-m", "shop.visitors", str(server.server_port), str(options.seconds)]
    code = subprocess.run(visitors, check=False).returncode
    server.shutdown()
    print("the shop is closed", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
