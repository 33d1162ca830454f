# What `.ci/run` does, in parts. `just --list` shows all.

# Build everything.
build:
    cargo build --workspace --all-targets

# Run all tests.
test:
    cargo test --workspace

# Check formatting and lints.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# Do what the continuous integration does.
ci:
    bash .ci/run

# Measure, with every figure beside its ideal and its goal; the table in README.md comes from here.
bench *arguments:
    cargo bench -p cms --bench speed -- {{arguments}}

# Keep it busy for so many minutes with changes on both sides while the service often fails; `--cuts` cuts the network, too.
endurance minutes="120" seed="1" *arguments:
    CMS_ENDURANCE_MINUTES={{minutes}} CMS_ENDURANCE_SEED={{seed}} cargo bench -p cms --bench endurance -- {{arguments}}

# Show everything on a simulated Microsoft 365.
demo:
    cargo run --release -- demo

# Try the planner on millions of random histories.
planner-millions cases="5000000":
    CMS_PLANNER_CASES={{cases}} cargo test --release -p cms-engine --test it properties

# Run so many simulated worlds, each from its seed, with everything that can go wrong.
simulate seeds="1000000" from="1":
    CMS_SIMULATION_SEEDS={{seeds}} CMS_SIMULATION_FROM={{from}} cargo test --release -p cms --lib simulation::many -- --nocapture

# Show one simulated world step by step.
replay seed:
    CMS_SIMULATION_SEED={{seed}} cargo test -p cms --lib simulation::replay -- --nocapture

# Kill the program at so many moments.
kills count="300":
    CMS_KILLS={{count}} cargo test -p cms --test it kills:: -- --nocapture

# Cut the power under it so often (as root).
power-cuts count="45":
    CMS_POWER_CUTS={{count}} cargo test -p cms --test it power:: -- --nocapture

# Let its disk fail so often.
disk-faults count="80":
    CMS_DISK_FAULTS={{count}} cargo test -p cms --test it disk_faults:: -- --nocapture
