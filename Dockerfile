# One image with every binary: producer, worker-*, tandem, fake-api. The command chooses: `docker run tandem producer`.
# Builds with the classic builder and with BuildKit. A change that touches no manifest does not rebuild dependencies.

FROM rust:1-slim-bookworm AS toolchain
WORKDIR /tandem

# The manifests with empty sources: everything the dependencies depend on.
FROM toolchain AS manifests
COPY . .
RUN find . -type f ! -name Cargo.toml ! -name Cargo.lock ! -name lib.rs ! -name main.rs ! -path '*/src/bin/*.rs' -delete \
  && find . -name lib.rs -exec truncate --size=0 {} + \
  && find . -name main.rs -o -path '*/src/bin/*.rs' | while read -r main; do echo 'fn main() {}' >"$main"; done

FROM toolchain AS build
# release; or dev, which builds in a fraction of the time.
ARG PROFILE=release
# Nothing here is built twice or debugged.
ENV CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=none
# Everything that runs in production, and the fake API without the test harness. A new worker needs no change here.
ARG BINARIES="--workspace --exclude xtask --exclude bench --exclude worker-billing --bins --no-default-features"
COPY --from=manifests /tandem .
RUN set -f && cargo build --locked --profile "$PROFILE" $BINARIES
COPY . .
# The copied files are older than what was built from the empty ones, and cargo compares times: touch them. The rest
# collects what the final image contains: the binaries, the libraries they link to, the certificate authorities for
# https destinations and amqps, a user, and a directory for data.
RUN find . -name '*.rs' -not -path './target/*' -exec touch {} + \
  && (set -f && cargo build --locked --profile "$PROFILE" $BINARIES) \
  && mkdir -p /image/usr/local/bin /image/etc/ssl/certs /image/var/lib && mkdir -m 1777 /image/tmp /image/var/lib/tandem \
  && find "target/$(test "$PROFILE" = dev && echo debug || echo "$PROFILE")" -maxdepth 1 -type f -perm -u=x \
    -exec cp {} /image/usr/local/bin/ \; \
  && ldd /image/usr/local/bin/* | grep -o '/lib[^ ]*' | sort -u | xargs -I{} cp --parents -L {} /image \
  && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
  && echo 'tandem:x:10001:10001::/var/lib/tandem:/usr/sbin/nologin' >/image/etc/passwd \
  && rm -rf target

# No shell and no packages: only our binaries and what they load.
FROM scratch
COPY --from=build /image/ /
ENV PATH=/usr/local/bin
USER 10001:10001
# The producer's default DATABASE_URL is relative to this directory; mount a volume here.
WORKDIR /var/lib/tandem
