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

# Sealing beside TenSEAL, if a Python environment with tenseal is active; never needed by build or tests.
bench-compare:
    cargo build --release -p concordat-client
    target/release/concordat-client bench seal --format json
    python3 benches/compare_tenseal.py
