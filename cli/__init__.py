"""The command line: flags to build state to flow parameters."""
