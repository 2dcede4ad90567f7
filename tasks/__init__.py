"""One operation each as a Prefect task."""
