"""The specification of a build, and the recipes that hold one."""
