//! Rebuilds the controller when a file that it embeds changes: cargo sees only Rust sources by itself.

fn main() {
    for embedded in ["../deploy/stacks", "migrations"] {
        println!("cargo::rerun-if-changed={embedded}");
    }
}
