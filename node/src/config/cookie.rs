use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use crate::links::limits::MIN_COOKIE_BYTES;
use crate::storage::private_directory;

/// The longest shared secret, in bytes.
pub const MAX_COOKIE_BYTES: usize = 1_024;

/// The name of the generated secret in the data directory.
pub const COOKIE_FILE: &str = "cookie";

/// The secret that the processes of a cluster prove to each other. Never sent, printed or logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Cookie(Vec<u8>);

/// Why a secret is no good.
#[derive(Debug, thiserror::Error)]
pub enum CookieError {
    /// Too little to resist guessing, or too much.
    #[error("a shared secret has {MIN_COOKIE_BYTES} to {MAX_COOKIE_BYTES} bytes, not {bytes}")]
    Length {
        /// How long it is.
        bytes: usize,
    },
    /// Its file.
    #[error("the file of the shared secret: {0}")]
    Io(#[from] io::Error),
}

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cookie(..)")
    }
}

impl Cookie {
    /// A secret of the caller's. White space at both ends does not count: files end in newlines.
    ///
    /// # Errors
    /// [`CookieError::Length`].
    pub fn new(secret: &[u8]) -> Result<Self, CookieError> {
        let secret = secret.trim_ascii();
        match secret.len() {
            MIN_COOKIE_BYTES..=MAX_COOKIE_BYTES => Ok(Self(secret.to_vec())),
            bytes => Err(CookieError::Length { bytes }),
        }
    }

    /// A fresh secret of 244 random bits. A process that has it alone can talk to itself only.
    #[must_use]
    pub fn random() -> Self {
        let (a, b) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
        Self(format!("{}{}", a.simple(), b.simple()).into_bytes())
    }

    /// Reads a secret from a file.
    ///
    /// # Errors
    /// [`CookieError`].
    pub fn read(path: &Path) -> Result<Self, CookieError> {
        let bytes = fs::metadata(path)?.len();
        if bytes > 2 * MAX_COOKIE_BYTES as u64 {
            return Err(CookieError::Length {
                bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
            });
        }
        Self::new(&fs::read(path)?)
    }

    /// The secret itself, for the links' proof of it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The secret kept in a data directory, made (readable by its owner only) if there is none. The
/// flag says whether it is new. Creates the directory, for its owner only.
///
/// # Errors
/// [`CookieError`].
pub fn load_or_generate(data_dir: &Path) -> Result<(Cookie, bool), CookieError> {
    private_directory(data_dir)?;
    let path = data_dir.join(COOKIE_FILE);
    match Cookie::read(&path) {
        Err(CookieError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
        known => return known.map(|cookie| (cookie, false)),
    }
    // Written aside and linked into place: another process that starts at the same moment reads
    // either nothing or a whole secret, and one of the two wins.
    let fresh = Cookie::random();
    let aside = data_dir.join(format!("{COOKIE_FILE}.{}", std::process::id()));
    let mut file = private().open(&aside)?;
    file.write_all(fresh.as_bytes())?;
    file.sync_all()?;
    let linked = fs::hard_link(&aside, &path);
    fs::remove_file(&aside)?;
    match linked {
        Ok(()) => Ok((fresh, true)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Ok((Cookie::read(&path)?, false))
        }
        Err(error) => Err(error.into()),
    }
}

fn private() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_trimmed_bounded_and_never_shown() {
        let cookie = Cookie::new(b" hush-hush\n").unwrap();
        assert_eq!(cookie.as_bytes(), b"hush-hush");
        assert_eq!(format!("{cookie:?}"), "Cookie(..)");
        assert!(matches!(Cookie::new(b" \n"), Err(CookieError::Length { bytes: 0 })));
        assert!(Cookie::new(&[b'x'; MIN_COOKIE_BYTES - 1]).is_err());
        assert!(Cookie::new(&[b'x'; MAX_COOKIE_BYTES + 1]).is_err());
    }

    #[test]
    fn a_generated_secret_stays_and_is_private() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("a/b");
        let (first, fresh) = load_or_generate(&dir).unwrap();
        assert!(fresh);
        assert_eq!(load_or_generate(&dir).unwrap(), (first, false));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "nothing is left aside");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&dir.join(COOKIE_FILE)), 0o600);
            assert_eq!(mode(&dir), 0o700);
        }
    }
}
