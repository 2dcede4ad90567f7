"""What is kept of image families, what is rebuilt, what goes."""
