//! Finding installed programs.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::leash::path;

/// The entries of a directory whose names start with this prefix, the latest version first.
pub(crate) fn below(directory: &Path, prefix: &str) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            Some((version(name.strip_prefix(prefix)?), entry.path()))
        })
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, path)| path)
}

/// The numbers in a version.
fn version(text: &str) -> Vec<u32> {
    text.split(|other: char| !other.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// Files with this name on `PATH`, with links resolved, because programs look for other files next to themselves.
pub(crate) fn on_path(name: &str) -> impl Iterator<Item = PathBuf> {
    let files: Vec<_> = env::split_paths(&path()).map(|directory| directory.join(name)).collect();
    files.into_iter().filter_map(|file| fs::canonicalize(file).ok()).filter(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert!(version("3.10.8") > version("3.9.29"));
        assert!(version("15") > version("9.6"));
    }
}
