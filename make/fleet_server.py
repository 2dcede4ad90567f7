"""`make fleet-server`: Prefect's server of deploy/compose.yaml on this machine, without containers, until Ctrl-C."""

import signal
import sys
import tempfile
from pathlib import Path

from support.fleet_server import REPLICAS, FleetServer, stop_on_signals


def main() -> int:
    """Run the server until a signal comes."""
    stop_on_signals()
    try:
        with tempfile.TemporaryDirectory(prefix="fleet-server-") as name:
            directory = Path(name)
            directory.chmod(0o711)  # PostgreSQL's user passes through
            with FleetServer(directory) as server:
                print(f"export PREFECT_API_URL={server.api}")
                print(f"# replicas: {', '.join(server.replica(each) for each in REPLICAS)}")
                print(f"# database: {server.database}")
                print(f"# logs: {directory}/*.log", flush=True)
                while True:
                    signal.pause()
    except KeyboardInterrupt:
        print("stopped", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
