#!/usr/bin/env bash
# Builds the documentation site into build/site/html, strictly: a warning of the generator or a link that leads nowhere fails.
# REPOSITORY is the address of this repository's files on a forge (https://…/blob/main); links to sources lead there.
set -euo pipefail
cd "$(dirname "$0")/.."
source make/progress.sh

tools=build/site-tools
site=build/site
stamp=$tools/.lock
wanted=$(sha256sum requirements/site.txt)
stage "site's generator"
if [[ ! -f $stamp || $(< "$stamp") != "$wanted" ]]; then
  rm -rf "$tools"
  "${PYTHON:-python3}" -m venv "$tools"
  "$tools/bin/pip" --disable-pip-version-check --no-input --quiet install --no-deps --require-hashes \
    --requirement requirements/site.txt || give_up 'the packages of requirements/site.txt could not be installed'
  printf '%s\n' "$wanted" > "$stamp"
fi
stage_done "$("$tools/bin/zensical" --version)"

stage 'site'
"$tools/bin/python" make/site_pages.py write "$site" "${REPOSITORY:-}"
if ! "$tools/bin/zensical" build --clean --strict --config-file "$site/mkdocs.yml" > "$site/log" 2>&1; then
  give_up 'the site could not be built' "$(< "$site/log")"
fi
"$tools/bin/python" make/site_pages.py check "$site" || give_up 'the site has links that lead nowhere'
stage_done "$site/html/index.html"
