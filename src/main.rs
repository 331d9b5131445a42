//! The `multilangd` program.

fn main() {}
