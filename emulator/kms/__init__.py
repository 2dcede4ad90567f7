"""Cloud KMS: keys that sign."""
