# `just` lists these. Each is a plain cargo command that can be typed instead.

_default:
    @just --list

# Everything that must hold before a change is taken
check:
    .ci/run

# All tests
test:
    cargo test --workspace

# A federation on this machine, its log verified at the end
demo *ARGS:
    cargo run --release --bin concordat-demo -- --out out {{ARGS}}

# Advisories, licences and sources of all dependencies; needs cargo-deny and the network
deny:
    cargo deny check

# A search for inputs that a decoder does not survive, for so many seconds (docs/fuzzing.md); needs cargo-fuzz and a nightly compiler
fuzz TARGET SECONDS="600":
    cargo +nightly fuzz run -O --features sealing,training,edges {{TARGET}} -- -max_total_time={{SECONDS}}

# Sealing on processors that this one is not: AVX2 alone, neither, another architecture; needs qemu-user and, for the last, a cross compiler
other-machines:
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="qemu-x86_64 -cpu Haswell" cargo test -p concordat-crypto --lib -- vectors instructions product bound
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="qemu-x86_64 -cpu Nehalem" cargo test -p concordat-crypto --lib -- vectors instructions product bound
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu" \
        cargo test --target aarch64-unknown-linux-gnu -p concordat-crypto --lib -- vectors instructions product bound
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu" \
        cargo test --target aarch64-unknown-linux-gnu -p concordat-crypto --test tables
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu" \
        cargo test --target aarch64-unknown-linux-gnu -p concordat-auditor --lib -- vectors sharing

# Sealing beside TenSEAL, if a Python environment with tenseal is active; never needed by build or tests.
bench-compare:
    cargo build --release -p concordat-client
    target/release/concordat-client bench seal --format json
    python3 benches/compare_tenseal.py
