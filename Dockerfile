# The build steps, and a Prefect worker's flows, as a container image. `make container` builds it; docs/container.md says
# what is in it and why.

# By digest: what a tag names changes. docs/releasing.md says how to take a newer one.
ARG BASE=docker.io/library/debian:bookworm-slim@sha256:3783cc01769c7b2b1b83a5c5ad96c815348e28ed7da68e2e3687004faa906251

FROM $BASE AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends binutils python3-venv \
    && rm -rf /var/lib/apt/lists/*

# Every package of the lock, checked against its hash. The environment that is shipped has no pip of its own: the
# builder's installs into it. Where packages come from is the builder's business: pip's configuration and the
# certificate authorities come as secrets, if at all, and stay out of the image.
WORKDIR /src
COPY requirements/runtime.txt requirements/build.txt requirements/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=authorities,target=/run/authorities.pem \
    python3 -m venv /opt/build \
    && python3 -m venv --without-pip /opt/cos-customizer \
    && /opt/build/bin/pip install --quiet --no-cache-dir --no-deps --require-hashes --requirement requirements/build.txt \
    && /opt/build/bin/pip --python /opt/cos-customizer/bin/python install --quiet --no-cache-dir --no-compile \
        --no-deps --require-hashes --requirement requirements/runtime.txt
COPY make/container_trim.sh make/
# Compiled here, once, because start-up time depends on it; without a look at the sources' dates, which do not change any
# more. Hundreds of plug-ins that no build loads stay as they are.
RUN make/container_trim.sh /opt/cos-customizer/lib/python3*/site-packages \
    && { /opt/cos-customizer/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash \
        -x '/(apprise/plugins|pygments/lexers|sqlalchemy/dialects/(mssql|mysql|oracle))/' \
        /opt/cos-customizer/lib || true; }

COPY pyproject.toml README.md LICENSE ./
COPY cli cli
COPY customizer customizer
COPY emulator emulator
COPY flows flows
COPY gcp gcp
COPY guest guest
COPY tasks tasks
COPY src src
# prefect.yaml names the flows by where they stand in the repository: a link has them there, once.
COPY prefect.yaml /opt/cos-customizer/
COPY make/container_entrypoint.sh /opt/cos-customizer/bin/entrypoint
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /tmp/wheel . \
    && /opt/build/bin/pip --python /opt/cos-customizer/bin/python install --no-compile --no-deps /tmp/wheel/*.whl \
    && cd /opt/cos-customizer \
    && bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash lib/python3*/site-packages/cos_customizer \
    && ln -s lib/python3*/site-packages/cos_customizer/flows flows \
    && mkdir share \
    && bin/python -m cos_customizer.flows.local_server share/prefect.db

# What the emulator needs beside that; its own container has it.
FROM build AS build-emulator
COPY requirements/emulator.txt requirements/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=authorities,target=/run/authorities.pem \
    /opt/build/bin/pip --python /opt/cos-customizer/bin/python install --quiet --no-cache-dir --no-deps --require-hashes \
        --requirement requirements/emulator.txt

FROM $BASE AS runtime
# tini is process 1: it reaps what a worker's flow runs leave, and a SIGTERM that comes before Python listens ends it too.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 tini \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/lib/dpkg/*-old /var/log/apt/* \
        /var/log/dpkg.log
COPY --from=build /opt/cos-customizer /opt/cos-customizer
# All of it outside the home, which Cloud Build mounts over. No USER: what Cloud Build mounts belongs to root.
ENV COS_CUSTOMIZER_PREFECT_TEMPLATE=/opt/cos-customizer/share/prefect.db \
    PATH=/opt/cos-customizer/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PREFECT_SERVER_UI_ENABLED=false
WORKDIR /workspace
ENTRYPOINT ["tini", "-s", "--", "entrypoint"]
CMD ["help"]
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="COS Customizer for Prefect" \
    org.opencontainers.image.description="Customize Compute Engine images: build steps for Cloud Build, flows for Prefect." \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.base.name="docker.io/library/debian:bookworm-slim" \
    org.opencontainers.image.version="$VERSION" \
    org.opencontainers.image.revision="$REVISION"

# `docker build --target emulator`: the local Compute Engine with scripted machines, on one port
# (docs/emulator-in-tests.md). Who runs it may be anybody; what it keeps is gone with the container unless -state-dir names
# a volume.
FROM runtime AS emulator
COPY --from=build-emulator /opt/cos-customizer /opt/cos-customizer
ENV XDG_STATE_HOME=/tmp/state XDG_CACHE_HOME=/tmp/cache
EXPOSE 4588
HEALTHCHECK --interval=2s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:4588/healthz', timeout=4)"]
CMD ["emulator", "start", "-foreground", "-machines=scripted", "-host=0.0.0.0", "-port=4588"]
LABEL org.opencontainers.image.title="The local Compute Engine of COS Customizer for Prefect" \
    org.opencontainers.image.description="A local Compute Engine, Cloud Storage, Cloud Logging and Secret Manager."

# The last one is what is built where no target is named.
FROM runtime
