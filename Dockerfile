# syntax=docker/dockerfile:1

FROM rust:1.95-slim-bookworm AS build
WORKDIR /source
COPY . .
# The caches are the builder's, not layers: a changed line compiles our crates, not their dependencies.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/source/target,sharing=locked \
    cargo build --release --locked --package aquatint \
    && install -D --strip target/release/aquatint /out/aquatint

# The same Debian as above, for its C library; and a Debian at all, so that programs for
# `command.run`, ffmpeg say, are one `apt-get install` away in an image built upon this one.
FROM debian:bookworm-slim
# Certificates come with Debian's point releases; a pinned version would be gone with the next one.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --home-dir /var/lib/aquatint --shell /usr/sbin/nologin aquatint \
    && install --directory --owner=aquatint --group=aquatint --mode=0750 /var/lib/aquatint
COPY --from=build /out/aquatint /usr/local/bin/aquatint

# By number, so that a cluster that insists on "not root" can see it is not.
USER 10001:10001
WORKDIR /var/lib/aquatint
ENV AQUATINT_DATA_DIR=/var/lib/aquatint
VOLUME /var/lib/aquatint
STOPSIGNAL SIGTERM
# The data directory, the disk, the database, the definitions.
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s --retries=3 \
    CMD ["aquatint", "--quiet", "doctor"]
ENTRYPOINT ["aquatint"]
CMD ["worker"]
