//! Rebuilds this crate when a file that it embeds changes: cargo sees only Rust sources by itself.

fn main() {
    println!("cargo::rerun-if-changed=../migrations");
}
