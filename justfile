# The commands of every day; CONTRIBUTING.md explains them. "just" alone lists them.

_list:
    @just --list

# The dashboard on fake servers
demo *ARGS:
    cargo run --bin demo -- {{ARGS}}

# All tests, or those of one promise: just test p06
test *FILTER:
    cargo test --workspace {{FILTER}}

# Format and lints
lint:
    cargo fmt --all
    cargo clippy --workspace --all-targets -- -D warnings

# Everything that must hold before a change lands
ci:
    .ci/run

# Renew the texts that are pinned; read the difference before you commit it
renew:
    UPDATE_GOLDEN=1 cargo test -p tbtoken-proto
    INSTA_UPDATE=always cargo test -p tbtui -p tbctl
    UPDATE_PICTURE=1 cargo test -p tbtui dashboard_svg
    git diff --stat

# What the daemon costs: just bench pass
bench *ARGS:
    cargo run --release --bin bench -- {{ARGS}}

# Random inputs for all parsers, so many seconds each
fuzz SECONDS="60":
    cp Cargo.lock fuzz/
    cd fuzz && cargo run --release -- {{SECONDS}}

# The Debian package
deb:
    packaging/build-deb

# Licences, bans, sources, advisories of all dependencies
deny:
    cargo deny check
