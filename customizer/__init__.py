"""The pure core: what a build is, its names, durations and errors. No Prefect, no Google import, no network."""
