#!/bin/sh
# Pin every dependency by hash. No index address ends up in the files.
#   all.txt     the development environment: web, worker, tests
#   web.txt     the web and delivery image, without torch
#   torch.txt   PyTorch for CUDA, with what NVIDIA gives for it: most of the worker image's size
#   worker.txt  the rest of the worker image, the same for every PyTorch; without unused.txt
#   hf.txt      what SAM 2.1 and SAM 3 need besides
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
image() {
  compile pyproject.toml "$@" -c requirements/all.txt --excludes requirements/unused.txt
}
image --extra worker -o requirements/worker.txt
image --extra worker --extra hf -o requirements/hf.txt
compile requirements/starter.in -o requirements/starter.txt
compile requirements/studio.in -o requirements/studio.txt
compile requirements/uv.in -o requirements/uv.txt

# A package begins its line, and its hashes are indented below. What one file has, the next leaves out.
split=$(mktemp)
awk '
  /^[a-z0-9]/ { cuda = /^(torch|torchvision|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)==/ }
  cuda { print >"requirements/torch.txt"; next }
  { print }
' requirements/worker.txt >"$split"
cp "$split" requirements/worker.txt
awk '
  FILENAME != "requirements/hf.txt" { names[$1]; next }
  /^[a-z0-9]/ { had = $1 in names }
  !had { print }
' requirements/torch.txt requirements/worker.txt requirements/hf.txt >"$split"
cp "$split" requirements/hf.txt
rm "$split"
