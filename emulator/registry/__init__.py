"""A registry of container images, by the Distribution API, which holds the images of all registries by their names."""
