use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::TlsError;

/// The largest file read, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// When and what each file was.
pub(super) type Stamps = Vec<Option<(SystemTime, u64, u64)>>;

pub(super) fn stamps(files: &[PathBuf]) -> Stamps {
    let stamp = |path: &PathBuf| {
        let of = std::fs::metadata(path).ok()?;
        Some((of.modified().ok()?, of.len(), number(&of)))
    };
    files.iter().map(stamp).collect()
}

/// Tells a file that was put in the place of another.
fn number(of: &std::fs::Metadata) -> u64 {
    #[cfg(unix)]
    return std::os::unix::fs::MetadataExt::ino(of);
    #[cfg(not(unix))]
    return 0;
}

/// The bytes of a file.
pub(super) fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let fault = |source| TlsError::Read { setting, path: path.to_owned(), source };
    regular(setting, path)?;
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(fault)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(fault)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let detail = format!("it has more than {MAX_FILE_BYTES} bytes: it is no PEM file");
        return Err(TlsError::Content { setting, path: path.to_owned(), detail });
    }
    Ok(bytes)
}

/// What a file is, unless it is none: a pipe would be waited for.
fn regular(setting: &'static str, path: &Path) -> Result<Metadata, TlsError> {
    let fault = |source| TlsError::Read { setting, path: path.to_owned(), source };
    let of = std::fs::metadata(path).map_err(fault)?;
    match of.is_file() {
        true => Ok(of),
        false => {
            let detail = "it is no file".to_owned();
            Err(TlsError::Content { setting, path: path.to_owned(), detail })
        }
    }
}

/// Refuses a secret that others can read.
pub(super) fn check_secret(setting: &'static str, path: &Path) -> Result<(), TlsError> {
    match exposed(&regular(setting, path)?) {
        None => Ok(()),
        Some(mode) => {
            let detail = format!("others can read it (mode {mode:04o}): chmod 600 it");
            Err(TlsError::Content { setting, path: path.to_owned(), detail })
        }
    }
}

/// The mode of a file with a secret that others can read, if it is such a file.
#[cfg(feature = "cli")]
pub(crate) fn exposed_mode(path: &Path) -> Option<u32> {
    // Pipes and devices are no files that lie about.
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).and_then(|of| exposed(&of))
}

#[cfg(unix)]
fn exposed(of: &std::fs::Metadata) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    let mode = of.mode() & 0o777;
    // What a service manager hands out belongs to root and is read through a group.
    let allowed = if of.uid() == 0 { 0o740 } else { 0o700 };
    (mode & !allowed != 0).then_some(mode)
}

#[cfg(not(unix))]
fn exposed(_: &std::fs::Metadata) -> Option<u32> {
    None
}
