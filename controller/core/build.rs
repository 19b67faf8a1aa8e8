//! Rebuilds this crate when a file that it embeds changes: cargo sees only Rust sources by itself.

fn main() {
    for embedded in ["../migrations"] {
        println!("cargo::rerun-if-changed={embedded}");
    }
}
