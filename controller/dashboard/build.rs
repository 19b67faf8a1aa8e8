//! Lays out what is embedded: each file of `export/`, and beside it what it is compressed to, `.br` and `.gz`. Without a built
//! dashboard that is an empty folder.

use std::{
    env, fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

/// Where `deploy/dev/dashboard.sh` puts the dashboard. It is in the repository, because cargo would run this again at each build
/// for a path that does not exist.
const EXPORT: &str = "export";

/// Kinds of files that are compressed already.
const COMPRESSED: [&str; 6] = ["woff2", "png", "jpg", "webp", "avif", "gz"];

/// A variant must save so much: a sixteenth.
const WORTHWHILE: usize = 16;

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={EXPORT}");
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    let site = PathBuf::from(out).join("site");
    if site.exists() {
        fs::remove_dir_all(&site)?;
    }
    lay_out(Path::new(EXPORT), &site)
}

fn lay_out(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        // Of git, and of the script that put the files here.
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let target = to.join(&name);
        if entry.file_type()?.is_dir() {
            lay_out(&entry.path(), &target)?;
        } else {
            lay_out_file(&fs::read(entry.path())?, &target)?;
        }
    }
    Ok(())
}

fn lay_out_file(content: &[u8], target: &Path) -> io::Result<()> {
    fs::write(target, content)?;
    if target.extension().is_some_and(|kind| COMPRESSED.iter().any(|one| kind == *one)) {
        return Ok(());
    }
    for (variant, suffix) in [(brotli(content)?, "br"), (gzip(content)?, "gz")] {
        if variant.len() + content.len() / WORTHWHILE < content.len() {
            fs::write(target.with_added_extension(suffix), variant)?;
        }
    }
    Ok(())
}

fn brotli(content: &[u8]) -> io::Result<Vec<u8>> {
    let settings = brotli::enc::BrotliEncoderParams { quality: 11, lgwin: 22, ..Default::default() };
    let mut variant = Vec::new();
    brotli::BrotliCompress(&mut &*content, &mut variant, &settings)?;
    Ok(variant)
}

fn gzip(content: &[u8]) -> io::Result<Vec<u8>> {
    let mut variant = Vec::new();
    flate2::read::GzEncoder::new(content, flate2::Compression::best()).read_to_end(&mut variant)?;
    Ok(variant)
}
