# The full image has the C compiler with which the package is built.
FROM python:3.13 AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
WORKDIR /src
# The dependencies first: they change less often than the code, and this layer is the slow one.
COPY requirements/runtime.txt requirements/build.txt requirements/
RUN python -m venv /opt/holdgate \
    && /opt/holdgate/bin/pip install --no-cache-dir --require-hashes -r requirements/runtime.txt \
    && python -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt
COPY pyproject.toml setup.py README.md LICENSE ./
COPY protocol/ protocol/
COPY rules/ rules/
COPY gateway/ gateway/
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/holdgate/bin/pip install --no-cache-dir --no-deps /wheels/*.whl \
    && /opt/holdgate/bin/pip uninstall --yes pip

FROM python:3.13-slim
RUN groupadd --system --gid 10001 holdgate \
    && useradd --system --uid 10001 --gid holdgate --home-dir /var/lib/holdgate --create-home --shell /usr/sbin/nologin holdgate
COPY --from=build /opt/holdgate /opt/holdgate
ENV PATH=/opt/holdgate/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOLDGATE_HEALTH_URL=http://127.0.0.1:7433/healthz
# Store and audit live here; the configuration and its secrets are mounted, never built in.
WORKDIR /var/lib/holdgate
VOLUME ["/var/lib/holdgate"]
USER 10001:10001
EXPOSE 7432 7433
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(os.environ['HOLDGATE_HEALTH_URL'], timeout=2)"]
ENTRYPOINT ["holdgate"]
CMD ["serve", "-c", "/etc/holdgate/config.yaml"]
