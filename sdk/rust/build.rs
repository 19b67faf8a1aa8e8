//! Takes the example out of the README, so that `cargo run --example readme` runs what stands there.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=README.md");
    let readme = fs::read_to_string("README.md")?;
    let example = readme.split("```rust\n").nth(1).and_then(|rest| rest.split("\n```").next());
    let out = PathBuf::from(env::var("OUT_DIR")?).join("readme.rs");
    fs::write(out, example.ok_or("README.md has no example")?)?;
    Ok(())
}
