"""The operations on Google Cloud as plain functions; clients are passed in."""
