"""The routes of Compute Engine's API, by kind of resource."""
