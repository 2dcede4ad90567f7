#!/bin/sh
# What the image runs: a build step with its arguments or, where the first word is `prefect`, Prefect's own program, such
# as a worker.
case ${1-} in
  prefect) exec "$@" ;;
  *) exec cos-customizer "$@" ;;
esac
