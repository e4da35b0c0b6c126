# syntax=docker/dockerfile:1
# The sidecar proxy. Without docker: cargo xtask image proxy
#   docker build --file deploy/docker/proxy.Dockerfile --tag ghcr.io/meshkit/meshkit-proxy:0.1.0 .

# The toolchain that the workspace is tested with.
FROM rust:1.95-slim-bookworm AS build
# C for the cryptography of aws-lc.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends cmake g++ \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
ARG MESH_GIT_SHA
ARG PROFILE=dist
# Static, so that the image needs neither a libc nor a loader. The target is named although it is this machine's: otherwise the flag would reach
# build scripts and procedural macros, which cannot be static. Symbols are stripped for the other profiles' sake.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    target="$(uname -m)-unknown-linux-gnu" \
 && RUSTFLAGS="-C target-feature=+crt-static" \
    cargo build --locked --package meshkit-cli --bin mesh --target "$target" --profile "$PROFILE" \
 && folder="$PROFILE" && { [ "$PROFILE" != dev ] || folder=debug; } \
 && strip --strip-all -o /mesh "target/$target/$folder/mesh" \
 && ! readelf --program-headers --wide /mesh | grep -q INTERP

FROM scratch
ARG MESH_GIT_SHA
LABEL org.opencontainers.image.title="Meshkit proxy" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="$MESH_GIT_SHA" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/meshkit/meshkit"
# The whole program, not mesh-proxy alone: pods also run its words `await`, `sleep` and `validate` out of this image.
COPY --from=build /mesh /mesh
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/
WORKDIR /
# A number: Kubernetes cannot tell whether a name is root. Connections of this user are not redirected again.
USER 2102
ENTRYPOINT ["/mesh"]
CMD ["proxy"]
