#!/bin/sh
# Pin every dependency by hash. No index address ends up in the files.
#   all.txt     the development environment: web, worker, tests
#   web.txt     the web and delivery image, without torch
#   worker.txt  the worker image
#   starter.txt what training the starter weights begins with
#   studio.txt  Label Studio, which pins other versions of redis and rq than we need
set -eu
uv=${1:-uv}
cd "$(dirname "$0")/.."
compile() {
  "$uv" pip compile "$@" --python-version 3.11 --universal --generate-hashes \
    --no-emit-index-url --no-header --no-annotate --quiet
}
compile pyproject.toml --extra worker --extra dev --override requirements/overrides.txt \
  -o requirements/all.txt
compile pyproject.toml -c requirements/all.txt -o requirements/web.txt
compile pyproject.toml --extra worker -c requirements/all.txt -o requirements/worker.txt
compile requirements/starter.in -o requirements/starter.txt
compile requirements/studio.in -o requirements/studio.txt
compile requirements/uv.in -o requirements/uv.txt
