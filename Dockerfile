# The data-volume provisioner: fills a volume with the data sets an application needs, then exits or becomes the application.
#
# How to use this container
#
#   docker build -t provisioner .                              with `datasets` for the app (--target slim: without)
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

# ---- installs the environments; the image gets only the directories that are copied out of this stage -------------------
FROM base AS builder
WORKDIR /build
RUN python3 -m venv /opt/tools

# The provisioner's environment, without pip. Bytecode is compiled here, since nothing can write it at run time.
FROM builder AS provisioner-environment
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=bind,source=requirements/runtime.lock,target=runtime.lock \
    python3 -m venv --without-pip /opt/provisioner \
    && /opt/tools/bin/pip --python /opt/provisioner/bin/python install \
        --disable-pip-version-check --no-compile --no-deps --require-hashes --requirement runtime.lock \
    && /opt/provisioner/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/provisioner/lib \
    && /opt/provisioner/bin/python -c 'import site; open(site.getsitepackages()[0] + "/provisioner.pth", "w").write("/opt/provisioner/app\n")'

# The app's environment. It has pip, so that a derived image can install what its app needs.
FROM builder AS app-environment
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=bind,source=requirements/app.lock,target=app.lock \
    python3 -m venv /opt/app \
    && /opt/app/bin/pip install \
        --disable-pip-version-check --no-compile --no-deps --require-hashes --requirement app.lock \
    && find /opt/app/lib -type d \( -name tests -o -path '*/pyarrow/include' \) -prune -exec rm -r {} + \
    && /opt/app/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/app/lib

# The provisioner's code. It is below /opt, since applications use /app and /srv.
FROM base AS code
WORKDIR /opt/provisioner/app
COPY LICENSE entrypoint.py ./
COPY config config
COPY provisioner provisioner
# Named by `provisioner --version`; without them it names the version alone.
ARG COMMIT=""
ARG BUILD=""
RUN if [ -n "$COMMIT$BUILD" ]; then \
        printf '{"commit": "%s", "build": "%s"}\n' "$COMMIT" "$BUILD" >provisioner/build.json; \
    fi \
    && python3 -m compileall -q --invalidation-mode unchecked-hash . \
    && chmod -R a+rX,go-w .

# ---- the common part of both images ------------------------------------------------------------------------------------
FROM base AS common
# The mount point belongs to uid 1000 and group 0, and so does a new named volume; files created in it get group 0. Docker
# Spaces call uid 1000 `user`. In a container that is --read-only and has no tmpfs on /tmp, Python programs use /usr/tmp,
# the last directory that they try for temporary files; here it is the memory of /dev/shm.
RUN useradd --uid 1000 --gid 0 --no-create-home --home-dir /tmp --no-log-init user \
    && install --directory --owner=1000 --group=0 --mode=2775 /data \
    && ln -s /dev/shm /usr/tmp \
    && printf '#!/bin/sh\nexec /opt/provisioner/bin/python -I /opt/provisioner/app/entrypoint.py "$@"\n' >/usr/local/bin/provisioner \
    && chmod 755 /usr/local/bin/provisioner
COPY --from=provisioner-environment /opt/provisioner /opt/provisioner
# The official Python image has no bytecode of the standard library; this import, as root, compiles what is needed of it.
RUN ["/opt/provisioner/bin/python", "-I", "-c", "import argparse, asyncio, concurrent.futures, huggingface_hub.hf_api, urllib3, tarfile, zipfile, yaml, filelock"]
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
COPY --from=code /opt/provisioner/app /opt/provisioner/app

FROM common AS full
COPY --from=app-environment /opt/app /opt/app
ENV PATH=/opt/app/bin:$PATH
COPY --from=code /opt/provisioner/app /opt/provisioner/app
