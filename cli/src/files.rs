//! Copying artifacts out to people's folders, under names that are safe as names.

use std::fs::File;
use std::io::{self, Read, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use aquatint_engine::Engine;
use aquatint_engine::artifact::Artifact;

use crate::exit::{Exit, Result};
use crate::output;

/// Makes a folder, where it is missing.
pub(crate) fn make(folder: &Path) -> Result {
    std::fs::create_dir_all(folder).map_err(|error| Exit::file("make the folder", folder, &error))
}

/// Copies an artifact into a folder, wherever its bytes lie.
pub(crate) async fn copy_artifact(
    engine: &Engine,
    folder: &Path,
    artifact: &Artifact,
) -> Result<PathBuf> {
    let mut stored = engine.open_artifact(artifact).await.map_err(|error| {
        Exit::Error(format!(
            "cannot copy `{}` ({}): {error}",
            output::clean(&artifact.name),
            artifact.digest
        ))
    })?;
    copy_into(folder, &artifact.name, &mut stored)
}

/// Copies a stored file into a folder under its name; never over another file:
/// one of other content makes it `name-2`, one of the same content is kept.
fn copy_into(folder: &Path, name: &str, stored: &mut File) -> Result<PathBuf> {
    make(folder)?;
    let name = safe(name);
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => (stem, format!(".{extension}")),
        Some(_) | None => (name.as_str(), String::new()),
    };
    for number in 1..10_000 {
        let number = if number == 1 {
            String::new()
        } else {
            format!("-{number}")
        };
        let path = folder.join(format!("{stem}{number}{extension}"));
        match File::options().write(true).create_new(true).open(&path) {
            Ok(file) => {
                return match fill(file, stored) {
                    Ok(()) => Ok(path),
                    Err(error) => {
                        // Half a picture under its full name would be taken for the whole.
                        let _ = std::fs::remove_file(&path);
                        Err(Exit::file("write", &path, &error))
                    }
                };
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if same(&path, stored).map_err(|error| Exit::file("compare", &path, &error))? {
                    return Ok(path);
                }
            }
            Err(error) => return Err(Exit::file("write", &path, &error)),
        }
    }
    Err(Exit::Error(format!(
        "{} holds 10000 files called {name}; choose another folder",
        folder.display()
    )))
}

fn fill(mut file: File, stored: &mut File) -> io::Result<()> {
    stored.rewind()?;
    io::copy(stored, &mut file)?;
    file.flush()
}

fn same(path: &Path, ours: &mut File) -> io::Result<bool> {
    let Ok(mut there) = File::open(path) else {
        return Ok(false);
    };
    ours.rewind()?;
    if !there.metadata()?.is_file() || there.metadata()?.len() != ours.metadata()?.len() {
        return Ok(false);
    }
    let (mut a, mut b) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let n = there.read(&mut a)?;
        if n == 0 {
            return Ok(true);
        }
        if ours.read_exact(&mut b[..n]).is_err() || a[..n] != b[..n] {
            return Ok(false);
        }
    }
}

/// A name that stays in its folder and can be typed: no separators, no control
/// characters, nothing hidden, 150 bytes at most.
fn safe(name: &str) -> String {
    let mut safe: String = name
        .chars()
        .map(|c| {
            if output::steers(c)
                || matches!(c, '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|')
            {
                '_'
            } else {
                c
            }
        })
        .collect();
    let cut = safe.floor_char_boundary(150);
    if cut < safe.len() {
        let extension = safe
            .rsplit_once('.')
            .map(|(_, e)| e.to_owned())
            .filter(|e| e.len() <= 8);
        safe.truncate(cut);
        safe.extend(extension.map(|e| format!(".{e}")));
    }
    let safe = safe.trim_matches([' ', '.']).trim_start_matches('-');
    if safe.is_empty() {
        "artifact".to_owned()
    } else {
        safe.to_owned()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn no_name_leads_out_of_the_folder() {
        for (name, kept) in [
            ("../../etc/passwd", "_.._etc_passwd"),
            ("/etc/passwd", "_etc_passwd"),
            ("..", "artifact"),
            (".bashrc", "bashrc"),
            ("-rf", "rf"),
            ("a\u{1b}[2Jb.png", "a_[2Jb.png"),
            ("山の湖.png", "山の湖.png"),
            ("", "artifact"),
        ] {
            assert_eq!(safe(name), kept);
        }
        let long = safe(&format!("{}.png", "長".repeat(100)));
        assert!(long.len() <= 160 && long.ends_with(".png"), "{long}");
    }

    #[test]
    fn a_copy_never_takes_the_place_of_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let stored = folder.path().join("stored");
        std::fs::write(&stored, "new").unwrap();
        let out = folder.path().join("out");
        let mut stored = File::open(stored).unwrap();
        let first = copy_into(&out, "a.png", &mut stored).unwrap();
        assert_eq!(first, out.join("a.png"));
        assert_eq!(
            copy_into(&out, "a.png", &mut stored).unwrap(),
            first,
            "the same content is there already"
        );
        std::fs::write(&first, "old").unwrap();
        assert_eq!(
            copy_into(&out, "a.png", &mut stored).unwrap(),
            out.join("a-2.png")
        );
        assert_eq!(std::fs::read_to_string(first).unwrap(), "old");
        assert_eq!(std::fs::read_to_string(out.join("a-2.png")).unwrap(), "new");
    }
}
