# One image with every binary of Tandem: producer, worker-*, fake-api. The command chooses: `docker run tandem producer`.
# Builds with the classic builder and with BuildKit; a change that touches no manifest rebuilds no dependency.

FROM rust:1-slim-bookworm AS toolchain
WORKDIR /tandem

# The manifests, with empty sources: all that the dependencies depend on.
FROM toolchain AS manifests
COPY . .
RUN find . -type f ! -name Cargo.toml ! -name Cargo.lock ! -name lib.rs ! -name main.rs ! -path '*/src/bin/*.rs' -delete \
  && find . -name lib.rs -exec truncate --size=0 {} + \
  && find . -name main.rs -o -path '*/src/bin/*.rs' | while read -r main; do echo 'fn main() {}' >"$main"; done

FROM toolchain AS build
# release, or dev for a build in a fraction of the time.
ARG PROFILE=release
# Nothing is built here twice or debugged here.
ENV CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=none
# All that runs in production, and the fake APIs without the harness of the tests; a new worker is built without a change
# here.
ARG BINARIES="--workspace --exclude xtask --exclude worker-billing --bins --no-default-features"
COPY --from=manifests /tandem .
RUN set -f && cargo build --locked --profile "$PROFILE" $BINARIES
COPY . .
# The copied files are older than what was built from the empty ones, and cargo goes by time. The rest makes the
# final image's own files: the binaries, the libraries they are linked to, the authorities for https destinations and
# amqps, a user, and a place for data.
RUN find . -name '*.rs' -not -path './target/*' -exec touch {} + \
  && (set -f && cargo build --locked --profile "$PROFILE" $BINARIES) \
  && mkdir -p /image/usr/local/bin /image/etc/ssl/certs /image/var/lib && mkdir -m 1777 /image/tmp /image/var/lib/tandem \
  && find "target/$(test "$PROFILE" = dev && echo debug || echo "$PROFILE")" -maxdepth 1 -type f -perm -u=x \
    -exec cp {} /image/usr/local/bin/ \; \
  && ldd /image/usr/local/bin/* | grep -o '/lib[^ ]*' | sort -u | xargs -I{} cp --parents -L {} /image \
  && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
  && echo 'tandem:x:10001:10001::/var/lib/tandem:/usr/sbin/nologin' >/image/etc/passwd \
  && rm -rf target

# No shell, no package, nothing that is not ours or loaded by it.
FROM scratch
COPY --from=build /image/ /
ENV PATH=/usr/local/bin
USER 10001:10001
# The producer's default DATABASE_URL is relative: here, where a volume belongs.
WORKDIR /var/lib/tandem
