# syntax=docker/dockerfile:1
# What redirects the connections of a pod to its proxy, and installs the CNI plugin. Without docker: cargo xtask image init
#   docker build --file deploy/docker/init.Dockerfile --tag ghcr.io/meshkit/meshkit-init:0.1.0 .

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

# Only the files of iptables and of its libraries: no shell, no package manager, nothing that a scanner would report.
FROM debian:bookworm-slim AS root
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libcap2-bin \
 && mkdir /packages /root.d \
 && cd /packages \
 && apt-get download iptables libc6 libip4tc2 libip6tc2 libmnl0 libnetfilter-conntrack3 libnfnetlink0 libnftnl11 libxtables12 netbase \
 && for package in *.deb; do dpkg-deb --extract "$package" /root.d; done \
 && cd /root.d \
 && rm -rf usr/share/man usr/share/locale usr/share/lintian usr/share/bug usr/lib/*-linux-gnu/gconv \
    # A script of the package would have made these: the short names mean nf_tables.
 && for name in iptables ip6tables; do for what in "" -save -restore; do ln -s xtables-nft-multi "usr/sbin/$name$what"; done; done \
    # The lock of iptables lies in run.
 && mkdir -p run tmp proc sys && chmod 1777 tmp \
    # A library that is missing shows here, not in a pod.
 && chroot . /usr/sbin/xtables-nft-multi iptables --version \
 && chroot . /usr/sbin/xtables-legacy-multi iptables --version
COPY --from=build /mesh /root.d/mesh
# Pods run this as nobody, and forbid it to gain privileges: a capability of the container survives the start of a program only if the program's
# file names it, too. The mesh only hands them on: without `e` it also starts where a container lacks them.
RUN setcap cap_net_admin,cap_net_raw+p /root.d/mesh \
 && setcap cap_net_admin,cap_net_raw+ep /root.d/usr/sbin/xtables-nft-multi \
 && setcap cap_net_admin,cap_net_raw+ep /root.d/usr/sbin/xtables-legacy-multi

FROM scratch
ARG MESH_GIT_SHA
LABEL org.opencontainers.image.title="Meshkit redirection of connections" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="$MESH_GIT_SHA" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/meshkit/meshkit"
COPY --from=root /root.d /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/
WORKDIR /
USER 65534
ENTRYPOINT ["/mesh"]
CMD ["init"]
