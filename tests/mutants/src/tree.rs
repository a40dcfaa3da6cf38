//! A private copy of the checkout, in which mutants are made: nobody's sources change while they are judged.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use crate::error::Error;

/// Makes `copy` hold what git knows of `root`, committed or not, and nothing else that is not ignored.
/// Files that are equal already are not touched, so that cargo builds them no second time.
///
/// # Errors
/// [`Error::File`], [`Error::Program`].
pub(crate) fn refresh(root: &Path, copy: &Path) -> Result<(), Error> {
    let wanted = known(root, &["--cached", "--others"])?;
    for path in &wanted {
        let (from, to) = (root.join(path), copy.join(path));
        let Some(new) = content(&from)? else { continue };
        if content(&to)?.as_ref() == Some(&new) {
            continue;
        }
        let failed = |source| Error::File {
            path: to.clone(),
            source,
        };
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        fs::write(&to, new).map_err(failed)?;
    }
    let gone = |path: &&PathBuf| !wanted.contains(path);
    for path in below(copy, Path::new(""))?.iter().filter(gone) {
        let path = copy.join(path);
        fs::remove_file(&path).map_err(|source| Error::File { path, source })?;
    }
    Ok(())
}

fn known(root: &Path, which: &[&str]) -> Result<Vec<PathBuf>, Error> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--exclude-standard"])
        .args(which)
        .current_dir(root)
        .output()
        .map_err(|source| Error::Program {
            program: "git",
            source,
        })?;
    if !output.status.success() {
        return Err(Error::Ended {
            program: "git ls-files",
            status: output.status.to_string(),
        });
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split_terminator('\0').map(PathBuf::from).collect())
}

fn content(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::File {
            path: path.to_owned(),
            source,
        }),
    }
}

fn below(copy: &Path, directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |source| Error::File {
        path: copy.join(directory),
        source,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(copy.join(directory)).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = directory.join(entry.file_name());
        if entry.file_type().map_err(failed)?.is_dir() {
            files.extend(below(copy, &path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, process::Command};

    use super::refresh;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_copy_loses_mutations_and_files_that_are_gone() {
        let directory = tempfile::tempdir().unwrap();
        let (root, copy) = (directory.path().join("root"), directory.path().join("copy"));
        write(&root.join("src/a.rs"), "a");
        write(&root.join("target/b.rs"), "ignored");
        write(&root.join(".gitignore"), "target\n");
        let git = Command::new("git")
            .args(["init", "-q"])
            .current_dir(&root)
            .status();
        assert!(git.unwrap().success());
        write(&copy.join("src/a.rs"), "a mutation");
        write(&copy.join("src/gone.rs"), "");
        refresh(&root, &copy).unwrap();
        assert_eq!(fs::read_to_string(copy.join("src/a.rs")).unwrap(), "a");
        assert!(!copy.join("src/gone.rs").exists() && !copy.join("target").exists());
        let before = fs::metadata(copy.join("src/a.rs"))
            .unwrap()
            .modified()
            .unwrap();
        refresh(&root, &copy).unwrap();
        let after = fs::metadata(copy.join("src/a.rs"))
            .unwrap()
            .modified()
            .unwrap();
        assert_eq!(before, after, "an equal file was written again");
    }
}
