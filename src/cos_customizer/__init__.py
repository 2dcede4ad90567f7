"""COS Customizer for Prefect. Its packages stand at the top level of the repository; here are links to them."""

from cos_customizer import quick_imports

quick_imports.install()
