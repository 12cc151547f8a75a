# syntax=docker/dockerfile:1
# Two images of one project:
#   docker build --target web -t dgl-rsis-web .         serves and delivers; no torch
#   docker build --target worker -t dgl-rsis-worker .   segments; holds the model and a GPU
# The second holds CUDA. For processors, a quarter of its size, name an index of PyTorch for them:
#   docker build --target worker --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu \
#     --build-arg HF=no -t dgl-rsis-worker-cpu .
# docker-compose.yml runs both. By hand, add `--init`: a process with the number 1 ignores SIGTERM
# until it has a handler for it, which a worker has only once its model is loaded.

# The locks are made for 3.11. Append @sha256:… where builds must repeat to the byte.
ARG PYTHON=python:3.11.16-slim-trixie


FROM ${PYTHON} AS build
# The root file system is read-only later, so bytecode is compiled now.
ENV UV_COMPILE_BYTECODE=1 \
    UV_CACHE_DIR=/var/cache/uv \
    UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never \
    VIRTUAL_ENV=/opt/dgl-rsis
WORKDIR /src
COPY requirements/uv.txt requirements/
RUN pip install --no-cache-dir --require-hashes -r requirements/uv.txt \
    && uv venv ${VIRTUAL_ENV}


FROM build AS wheel
# Compiles the region tree's inner loops; nothing else of this image needs a compiler.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY . .
# The lock of the worker holds setuptools, which builds the wheel.
RUN --mount=type=cache,target=/var/cache/uv \
    uv build --wheel --require-hashes --build-constraint requirements/worker.txt --out-dir /dist


# --no-build: wheels only, so that no package runs code of its own here or needs a compiler.
FROM build AS web-environment
COPY requirements/web.txt requirements/
RUN --mount=type=cache,target=/var/cache/uv \
    uv pip install --no-build --no-deps --require-hashes -r requirements/web.txt
COPY --from=wheel /dist /dist
RUN uv pip install --no-deps /dist/*.whl


FROM build AS worker-environment
# At the end, of what is left.
ENV UV_COMPILE_BYTECODE=0
RUN apt-get update && apt-get install --yes --no-install-recommends binutils \
    && rm -rf /var/lib/apt/lists/*
COPY requirements/torch.txt requirements/
# An index of PyTorch's own has other files under the same version, so that our hashes do not fit:
# there the index vouches for what it serves.
ARG TORCH_INDEX=
RUN --mount=type=cache,target=/var/cache/uv \
    if [ -z "${TORCH_INDEX}" ]; then \
        uv pip install --no-build --no-deps --require-hashes -r requirements/torch.txt; \
    else \
        uv pip install --no-build --no-deps --index-url "${TORCH_INDEX}" \
            $(grep -oE '^torch(vision)?==[^ ;]+' requirements/torch.txt); \
    fi
COPY requirements/worker.txt requirements/hf.txt requirements/
RUN --mount=type=cache,target=/var/cache/uv \
    uv pip install --no-build --no-deps --require-hashes -r requirements/worker.txt
# What SAM 2.1 and SAM 3 need besides; "no" leaves it out, as they ask too much of a processor.
ARG HF=yes
RUN --mount=type=cache,target=/var/cache/uv \
    if [ "${HF}" != no ]; then \
        uv pip install --no-build --no-deps --require-hashes -r requirements/hf.txt; \
    fi
COPY --from=wheel /dist /dist
RUN uv pip install --no-deps /dist/*.whl
# What no worker reads: tests, sources, names for debuggers. A sixth of the image without CUDA.
# What else lies with tests stays: NumPy loads some of it. Not compiled is what is for later Pythons.
RUN cd ${VIRTUAL_ENV}/lib/python3.11/site-packages \
    && find . -path '*/tests/*' -name 'test_*.py' -exec rm {} + \
    && rm -rf torch/include torch/bin/protoc* cv2/data/*.xml \
    && find . \( -path ./nvidia -o -path ./triton -o -path ./torch -o -path '*.libs' \) -prune -o \
        -name '*.so' -exec strip --strip-debug {} + -o \
        -regex '.*\.\(c\|cpp\|h\|pyx\|pxd\)' -exec rm {} + \
    && python -m compileall -q -x '/py31[2-9]_' .


FROM ${PYTHON} AS runtime
# Libraries that want to keep a cache find a home that is writable, and gone with the container.
# A volume that is mounted over an empty folder takes over its owner.
RUN useradd --system --uid 10001 --user-group --home-dir /tmp dgl-rsis \
    && mkdir --mode 700 /cache /models && chown 10001:10001 /cache /models
# Those of what is bundled lie with each package, and in /usr/share/doc.
COPY LICENSE NOTICE /usr/share/doc/dgl-rsis/
LABEL org.opencontainers.image.title=dgl-rsis \
    org.opencontainers.image.licenses=Apache-2.0
ENV PATH=/opt/dgl-rsis/bin:$PATH \
    PYTHONUNBUFFERED=1
# A number, so that an orchestrator can see that it is not root.
USER 10001:10001
ENTRYPOINT ["dgl-rsis"]


FROM runtime AS web
COPY --from=web-environment /opt/dgl-rsis /opt/dgl-rsis
# Loopback, the default, is out of reach from outside the container.
ENV HOST=0.0.0.0
EXPOSE 9090
# 401 is a sign of life as well: with BASIC_AUTH_USER set, every route asks for a login.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 CMD ["python", "-c", "import http.client, os; server = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('PORT') or 9090), timeout=3); server.request('GET', '/health'); raise SystemExit(server.getresponse().status not in (200, 401))"]
CMD ["serve"]


FROM runtime AS worker
COPY --from=worker-environment /opt/dgl-rsis /opt/dgl-rsis
# Weights come from the volume /models, which `models pull` fills. Nothing else is fetched.
ENV HF_HUB_OFFLINE=1 \
    MODELS_DIR=/models \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
# A worker beats only while its model passes the self-test, so its heartbeat says more than a port.
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=3 CMD ["python", "-c", "import os, socket; from workers.queue.heartbeats import beats; from workers.queue.servers import connect; alive = beats(connect(os.environ['REDIS_URL'], 5)); raise SystemExit(all(beat.host != socket.gethostname() for beat in alive))"]
CMD ["worker"]
