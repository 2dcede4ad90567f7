"""Cloud Build workflows, run on this machine."""
