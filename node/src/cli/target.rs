use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::args::TargetArgs;
use super::client::Client;
use super::failure::Failure;

/// The file in a data directory that says where the process that uses it serves its admin HTTP.
const ADMIN_URL_FILE: &str = "admin.url";

/// The longest URL that such a file can hold.
const MAX_URL_BYTES: usize = 2_048;

impl TargetArgs {
    /// The process to ask.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let access = self.access.read()?;
        let (url, source) = find_url(self.admin.as_deref(), self.data_dir.as_deref())?;
        Client::new(&url, access).map_err(|detail| Failure::usage(format!("{source}: {detail}")))
    }
}

/// The URL, and who gave it.
pub(crate) fn find_url(
    flag: Option<&str>,
    data_dir: Option<&Path>,
) -> Result<(String, String), Failure> {
    if let Some(url) = flag {
        return Ok((url.to_owned(), "--admin".to_owned()));
    }
    if let Some(url) = std::env::var("LAMPYRID_ADMIN_URL").ok().filter(|url| !url.is_empty()) {
        return Ok((url, "LAMPYRID_ADMIN_URL".to_owned()));
    }
    let Some(dir) = data_dir else {
        let detail = "which process? Give --admin URL, LAMPYRID_ADMIN_URL, or --data-dir DIR";
        return Err(Failure::usage(detail));
    };
    let path = dir.join(ADMIN_URL_FILE);
    let shown = path.display().to_string();
    match std::fs::read_to_string(&path) {
        Ok(url) if url.len() <= MAX_URL_BYTES => Ok((url.trim().to_owned(), shown)),
        Ok(_) => Err(Failure::usage(format!("--data-dir: {shown} does not hold a URL"))),
        Err(error) => Err(Failure::usage(format!(
            "--data-dir: {shown}: {error}; is a process running on this directory?"
        ))),
    }
}

/// The file as long as the process serves. It is removed when this is dropped; one that a killed
/// process left behind is replaced at the next start.
#[derive(Debug)]
pub(crate) struct UrlFile(PathBuf);

impl UrlFile {
    /// Writes the file in one step, readable by its owner only.
    pub(crate) fn write(data_dir: &Path, url: &str) -> io::Result<Self> {
        let path = data_dir.join(ADMIN_URL_FILE);
        let mut file = tempfile::Builder::new().prefix(ADMIN_URL_FILE).tempfile_in(data_dir)?;
        writeln!(file, "{url}")?;
        file.persist(&path).map_err(|error| error.error)?;
        Ok(Self(path))
    }
}

impl Drop for UrlFile {
    fn drop(&mut self) {
        // It may have been removed with the whole directory.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_leads_to_the_process_as_long_as_it_serves() {
        let home = tempfile::tempdir().unwrap();
        let file = UrlFile::write(home.path(), "http://127.0.0.1:1").unwrap();
        let (url, source) = find_url(None, Some(home.path())).unwrap();
        assert_eq!(url, "http://127.0.0.1:1");
        assert!(source.ends_with(ADMIN_URL_FILE));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let path = home.path().join(ADMIN_URL_FILE);
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        drop(file);
        assert!(find_url(None, Some(home.path())).is_err());
    }
}
