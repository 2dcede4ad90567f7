#!/bin/sh
# Takes from a directory of Python packages what no program here imports; the image's build calls it before it compiles.
# Whoever adds a line: the image's own tests build, serve and deploy with what is left.
set -eu
cd "$1"

# Test suites. Not every `testing` is one: pendulum imports its own.
find . -depth -type d -name tests -exec rm -rf {} +
rm -rf sqlalchemy/testing alembic/testing mako/testing

# What only a compiler or a type checker reads, and translations: sources of extensions, stubs, catalogues.
find . -type f \( -name '*.c' -o -name '*.cpp' -o -name '*.h' -o -name '*.hpp' -o -name '*.pxd' -o -name '*.pyx' \
  -o -name '*.pyi' -o -name '*.po' -o -name '*.proto' \) -delete
rm -rf humanize/locale apprise/i18n
find pendulum/locales -mindepth 1 -maxdepth 1 -type d ! -name 'en*' -exec rm -rf {} +

# The pages of Prefect's server, twice 8 MB: workers and builds talk to its API (PREFECT_SERVER_UI_ENABLED is off).
rm -rf prefect/server/ui prefect/server/ui-v2

# compute_v1 under a second name.
rm -rf google/cloud/compute

# Debug information and symbols that nobody links against are a third of the extensions.
find . -type f \( -name '*.so' -o -name '*.so.*' \) -exec strip --strip-unneeded {} +
