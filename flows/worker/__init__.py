"""A worker for Prefect that forks each run from a warm process: a run costs neither an interpreter nor its imports."""
