# The build steps as a container: every package of the lock, checked against its hash, and a migrated Prefect database.
FROM debian:bookworm-slim AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*

# The environment that is shipped has no pip of its own: the builder's installs into it.
WORKDIR /src
COPY requirements/runtime.txt requirements/build.txt requirements/
RUN python3 -m venv /opt/build \
    && python3 -m venv --without-pip /opt/cos-customizer \
    && /opt/build/bin/pip install --no-cache-dir --no-deps --require-hashes --requirement requirements/build.txt \
    && /opt/build/bin/pip --python /opt/cos-customizer/bin/python install --no-cache-dir --no-compile --no-deps \
        --require-hashes --requirement requirements/runtime.txt

COPY pyproject.toml README.md LICENSE ./
COPY cli cli
COPY customizer customizer
COPY emulator emulator
COPY flows flows
COPY gcp gcp
COPY guest guest
COPY tasks tasks
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /tmp/wheel . \
    && /opt/build/bin/pip --python /opt/cos-customizer/bin/python install --no-compile --no-deps /tmp/wheel/*.whl \
    && { /opt/cos-customizer/bin/python -m compileall -q -j 0 /opt/cos-customizer/lib || true; } \
    && mkdir /opt/cos-customizer/share \
    && /opt/cos-customizer/bin/python -m cos_customizer.flows.local_server /opt/cos-customizer/share/prefect.db

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/cos-customizer /opt/cos-customizer
# Outside the home, which Cloud Build mounts over. No USER: what Cloud Build mounts belongs to root.
ENV COS_CUSTOMIZER_PREFECT_TEMPLATE=/opt/cos-customizer/share/prefect.db \
    PATH=/opt/cos-customizer/bin:$PATH
ARG VERSION=unreleased
ARG REVISION=unknown
LABEL org.opencontainers.image.version=$VERSION org.opencontainers.image.revision=$REVISION
ENTRYPOINT ["cos-customizer"]
