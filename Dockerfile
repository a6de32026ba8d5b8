# The gateway with ONNX Runtime on CPU. Untested: it could not be built where this version was made.
# It listens on loopback only, so run it with --network host; docs/operating.md has the whole command.
FROM python:3.11-slim

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
COPY carbon carbon
COPY routing routing
COPY optimize optimize
COPY serve serve
COPY loadtest loadtest
COPY configs configs
RUN pip install --constraint constraints.txt ".[cpu]" && rm -rf /build

# Ray asks for a user's name and home, also where the container runs under an id that has none.
RUN useradd --create-home --home-dir /home/greenserve greenserve \
    && mkdir -p /srv/greenserve/configs && chown -R greenserve /srv/greenserve
ENV USER=greenserve HOME=/tmp
COPY --chown=greenserve configs /srv/greenserve/configs
USER greenserve
WORKDIR /srv/greenserve

# Variants, ledger and reports lie here: mount a folder, or they end with the container.
VOLUME ["/srv/greenserve"]
ENTRYPOINT ["greenserve"]
CMD ["serve", "configs/demo.yaml"]
