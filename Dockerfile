# syntax=docker/dockerfile:1
#
# The gateway alone, without a Redis in it: set GATEWAY_REDIS_URL and GATEWAY_SECRET, or the _FILE forms of both
# (docker-compose.yml shows how). A private Redis is for one host, and a container is not where its data should live.
#
#   docker build -t token-gateway .
#   docker run -p 8000:8000 -e GATEWAY_REDIS_URL=redis://... -e GATEWAY_SECRET_FILE=/run/secrets/... token-gateway
#
# It runs as any user (`--user 1234567:0`), and nothing is written outside /tmp, so `--read-only --tmpfs /tmp` works.
# Another port: `-e GATEWAY_PORT=9000`, which the health check reads, too.

ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# ---------------------------------------------------------------------------------------------------------------- build
FROM ${PYTHON_IMAGE} AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1
WORKDIR /build

# The build tools go into an environment of their own, which stays behind.
COPY .ci/requirements/ requirements/
RUN python -m venv /build/tools \
    && /build/tools/bin/pip install --require-hashes -r requirements/build.txt \
    && python -m venv --without-pip /opt/gateway \
    && /build/tools/bin/pip --python /opt/gateway/bin/python install --compile --require-hashes --only-binary :all: -r requirements/runtime.txt

COPY pyproject.toml README.md LICENSE ./
COPY config/ config/
COPY docs/ docs/
COPY gateway/ gateway/
RUN /build/tools/bin/pip wheel --no-deps --no-build-isolation --no-index --wheel-dir dist . \
    && /build/tools/bin/pip --python /opt/gateway/bin/python install --compile --no-deps --no-index dist/*.whl \
    && chmod -R u=rwX,go=rX /opt/gateway

# ------------------------------------------------------------------------------------------------------------------ run
FROM ${PYTHON_IMAGE}

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="token-gateway" \
    org.opencontainers.image.description="A login and token gateway: access tokens that anybody verifies offline, refresh-token families in Redis" \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"

ENV PATH=/opt/gateway/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GATEWAY_HOST=0.0.0.0

COPY --from=build /opt/gateway /opt/gateway

# A number, so that an orchestrator can see that it is not root.
USER 65532:65532
WORKDIR /tmp
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["gateway", "healthcheck"]

ENTRYPOINT ["gateway"]
CMD ["serve"]
