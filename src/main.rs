//! The `multilangd` program.

fn main() {
    std::process::exit(multilangd::cli::main());
}
