# The data-volume provisioner: fills a volume with the data sets an application needs, then exits or becomes the application.
#
# How to use this container
#
#   docker build -t provisioner .                              with `datasets` for the app (--target slim: without; --target
#                                                              portable: /opt/provisioner, to be copied into other images)
#   docker run -v data:/data provisioner                       fill the volume, exit
#   docker run -v data:/data provisioner -- python app.py      fill the volume, become the app
#   docker run -v data:/data provisioner status                any command; --help lists them
#
#   PHASE, DATASETS, HF_TOKEN (or HF_TOKEN_FILE) and the other settings are environment variables: see docs/reference.md.
#   It runs as uid 1000 of group 0, as any other uid of group 0, and with --read-only: it writes only to /data.
#   docker stop ends it within two seconds; the next start resumes. For an app that handles no signals use --init.
#
# An image that is based on this one keeps the entry point and sets the app as the command:
#
#   FROM provisioner
#   COPY --chown=1000:0 . /srv
#   WORKDIR /srv
#   CMD ["--", "python", "app.py"]

ARG BASE_IMAGE=python:3.13-slim-trixie

FROM ${BASE_IMAGE} AS base

# ---- the stages below each fill /layer, which is copied into the images from the root directory on ------------------------
# The build is reproducible: with the same files, arguments, base and SOURCE_DATE_EPOCH it gives the same image. Everything in
# /layer therefore has the same fixed time, in every commit, so that a layer whose content did not change stays the same too. The
# images themselves run nothing. Bytecode has no times in it, and does not depend on the order of several processes.
FROM base AS builder
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0
RUN python3 -m venv /opt/tools \
    && printf '#!/bin/sh -e\nchmod -R go-w /layer\nfind /layer -exec touch --no-dereference --date=2020-01-01T00:00:00Z {} +\n' >/usr/local/bin/finish-layer \
    && chmod 755 /usr/local/bin/finish-layer

# The provisioner's environment, without pip. Bytecode is compiled here, since nothing can write it at run time; that of parts
# which the program never imports is left out, and so is PyYAML's reader in C, which it does not use.
FROM builder AS provisioner-environment
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=bind,source=requirements/runtime.lock,target=/build/runtime.lock \
    python3 -m venv --without-pip /opt/provisioner \
    && /opt/tools/bin/pip --python /opt/provisioner/bin/python install \
        --disable-pip-version-check --no-compile --no-deps --require-hashes --requirement /build/runtime.lock \
    && site=$(echo /opt/provisioner/lib/python3*/site-packages) \
    && rm -r "$site"/yaml/_yaml.* "$site"/fsspec/tests \
    && /opt/provisioner/bin/python -m compileall -q -f --invalidation-mode unchecked-hash "$site" \
        -x 'huggingface_hub/(cli|inference|serialization|_sandbox|_webhooks)|fsspec/|tqdm/contrib|packaging/licenses|click/testing|starlette/testclient|urllib3/contrib/(emscripten|pyopenssl)|uvicorn/protocols/websockets|anyio/(pytest|_backends/_trio)|httpx2/websockets|filelock/(_soft_rw|_read_write|_strict|asyncio)|backports/zstd/(zipfile|_cffi|tarfile)' \
    && echo /opt/provisioner/app >"$site"/provisioner.pth \
    && printf '#!/bin/sh\nexec /opt/provisioner/bin/python -I /opt/provisioner/app/entrypoint.py "$@"\n' >/opt/provisioner/bin/provisioner \
    && chmod 755 /opt/provisioner/bin/provisioner \
    && mkdir -p /layer/opt && mv /opt/provisioner /layer/opt/ && finish-layer

# The app's environment. It has pip, so that a derived image can install what its app needs.
FROM builder AS app-environment
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=bind,source=requirements/app.lock,target=/build/app.lock \
    python3 -m venv /opt/app \
    && /opt/app/bin/pip install \
        --disable-pip-version-check --no-compile --no-deps --require-hashes --requirement /build/app.lock \
    && site=$(echo /opt/app/lib/python3*/site-packages) \
    && rm -r "$site"/pyarrow/include \
    && for name in numpy pandas pyarrow multiprocess dill fsspec; do \
        find "$site/$name" -depth -type d -name tests -exec rm -r {} + || exit 1; \
    done \
    && /opt/app/bin/python -m compileall -q -f --invalidation-mode unchecked-hash "$site" \
    && mkdir -p /layer/opt && mv /opt/app /layer/opt/ && finish-layer

# The provisioner's code. It is below /opt, since applications use /app and /srv.
FROM builder AS code
WORKDIR /layer/opt/provisioner/app
COPY LICENSE entrypoint.py ./
COPY config config
COPY provisioner provisioner
# Named by `provisioner --version`; without them it names the version alone.
ARG COMMIT=""
ARG BUILD=""
RUN if [ -n "$COMMIT$BUILD" ]; then \
        printf '{"commit": "%s", "build": "%s"}\n' "$COMMIT" "$BUILD" >provisioner/build.json; \
    fi \
    && chmod -R a+rX . \
    && python3 -m compileall -q -f -s /layer -p / --invalidation-mode unchecked-hash /layer \
    && finish-layer

# What else is different from the base. The mount point belongs to uid 1000 and group 0, and so does a new named volume; files
# created in it get group 0. Docker Spaces call uid 1000 `user`. In a container that is --read-only and has no tmpfs on /tmp,
# Python programs use /usr/tmp, the last directory that they try for temporary files; here it is the memory of /dev/shm.
# The official Python image has no bytecode of the standard library: the import, as root, compiles what is needed of it.
FROM builder AS system
COPY --from=provisioner-environment /layer/ /
RUN mkdir -p /layer/usr/local/bin \
    && SOURCE_DATE_EPOCH=1577836800 useradd --uid 1000 --gid 0 --no-create-home --home-dir /tmp --no-log-init user \
    && cp --parents --preserve=mode,ownership /etc/passwd /etc/shadow /layer \
    && install --directory --owner=1000 --group=0 --mode=2775 /layer/data \
    && ln -s /dev/shm /layer/usr/tmp \
    && ln -s /opt/provisioner/bin/provisioner /layer/usr/local/bin/provisioner \
    && touch /begun \
    && PYTHONDONTWRITEBYTECODE="" /opt/provisioner/bin/python -c "import argparse, asyncio, concurrent.futures, huggingface_hub.hf_api, urllib3, tarfile, zipfile, yaml, filelock" \
    && find /usr -name '*.pyc' -newer /begun -exec cp --parents -t /layer {} + \
    && finish-layer && chmod 2775 /layer/data

# ---- for COPY --from= into other images: /opt/provisioner alone, with a Python and a C library of its own ------------------
FROM builder AS portable-environment
COPY --from=provisioner-environment /layer/ /
COPY --from=code /layer/ /
RUN --mount=type=bind,source=tools/portable_python.py,target=/build/portable_python.py \
    python3 /build/portable_python.py /opt/provisioner \
    && /opt/provisioner/bin/python -m compileall -q -f --invalidation-mode unchecked-hash /opt/provisioner/python/lib \
    && mkdir -p /layer/opt && cp -a /opt/provisioner /layer/opt/ && finish-layer

FROM scratch AS portable
COPY --from=portable-environment /layer/ /
ARG VERSION=0.1.0
ARG COMMIT=""
LABEL org.opencontainers.image.title="provisioner" \
      org.opencontainers.image.description="/opt/provisioner to be copied into other images, with a Python of its own" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}"

# ---- the common part of both images ------------------------------------------------------------------------------------
FROM base AS common
COPY --from=system /layer/ /
COPY --from=provisioner-environment /layer/ /
# HOME is /tmp, the only directory that is usually writable in a read-only container. The Hub client's cache may be on the
# volume; a token must not be.
# hadolint ignore=DL3064  # HF_TOKEN_PATH is the path of a token, not a token
ENV LANG=C.UTF-8 \
    HOME=/tmp \
    HF_HOME=/data/.cache/huggingface \
    HF_TOKEN_PATH=/tmp/.huggingface/token
# -I: PYTHONPATH and the current directory are the app's and do not affect this interpreter, which is not on PATH either.
ENTRYPOINT ["/opt/provisioner/bin/python", "-I", "/opt/provisioner/app/entrypoint.py"]
# Healthy: process 1 is the app, or this run's heartbeat in dataset_status.json is younger than a minute.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["/opt/provisioner/bin/python", "-I", "/opt/provisioner/app/entrypoint.py", "healthcheck"]
USER 1000:0
ARG VERSION=0.1.0
ARG COMMIT=""
LABEL org.opencontainers.image.title="provisioner" \
      org.opencontainers.image.description="Fills a volume with the data sets an application needs, verifies every byte, and gets out of the way" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}"

# ---- the two images; the provisioner's code comes last, so that a change of it rebuilds one small layer -----------------
FROM common AS slim
COPY --from=code /layer/ /

FROM common AS full
COPY --from=app-environment /layer/ /
ENV PATH=/opt/app/bin:$PATH
COPY --from=code /layer/ /
